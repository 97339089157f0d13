[ -r /etc/sysconfig/i18n ] && . /etc/sysconfig/i18n
export LANG
