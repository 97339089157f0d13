"""What moto's Systems Manager has wrong: a value is a text, JSON or not."""

import json

from moto.ssm.models import Parameter

RESPONSE = Parameter.response_object


def response_object(self, *args, **kwargs):
    answer = RESPONSE(self, *args, **kwargs)
    if isinstance(answer["Value"], dict):
        answer["Value"] = json.dumps(answer["Value"])
    return answer


def install():
    Parameter.response_object = response_object
