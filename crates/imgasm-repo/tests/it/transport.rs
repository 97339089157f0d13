//! Servers that are slow, wrong, stale or elsewhere.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::world::repository;
use imgasm_block::Digest;
use imgasm_guest::Arch;
use imgasm_guest::dnf::Modules;
use imgasm_repo::metadata::{Location, Repository};
use imgasm_repo::transport::Proxies;
use imgasm_repo::{Error, Pool, Transport};

/// A server on the loopback that answers each request by its number and path.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = stream;
                let mut path = request(&stream);
                let number = log.lock().unwrap().len();
                log.lock().unwrap().push(path.clone());
                if path.ends_with(":80") {
                    // It is asked to be a proxy.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                    path = request(&stream);
                }
                let _ = stream.write_all(&answer(number, &path));
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

/// The target of a request, which is read to its end.
fn request(mut stream: &TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn answer(status: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn files_are_had_with_patience_and_no_more() {
    let server = Server::new(|number, path| match path {
        "/plain" => answer("200 OK", "", "content"),
        "/moved" => answer("302 Found", "Location: /plain\r\n", ""),
        "/around" => answer("302 Found", "Location: /around\r\n", ""),
        "/busy" if number % 3 != 2 => answer("503 Busy", "", ""),
        "/busy" => answer("200 OK", "", "late"),
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_vec(),
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        }
        _ => answer("404 Not Found", "", "nothing"),
    });
    let transport = Transport::default();
    let read = |path: &str| transport.read(&server.url(path), 50);
    // The number of the request decides whether the server is busy.
    assert_eq!(read("busy").unwrap(), b"late");
    assert_eq!(read("plain").unwrap(), b"content");
    assert_eq!(read("moved").unwrap(), b"content");
    assert_eq!(read("chunked").unwrap(), b"abc");
    for path in ["around", "cut", "missing"] {
        let error = read(path).unwrap_err().to_string();
        assert!(error.contains(&server.url(path)), "{error}");
    }
    let error = transport.read(&server.url("plain"), 3).unwrap_err();
    assert!(error.to_string().contains("more than 3 bytes"), "{error}");
    assert!(transport.read("http://127.0.0.1:1/x", 3).is_err());
    assert!(transport.read("gopher://x/y", 3).is_err());
}

#[test]
fn a_download_appears_when_it_is_whole_and_right() {
    let server = Server::new(|_, path| match path {
        "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nshort".to_vec(),
        "/long" => answer("200 OK", "", "contents"),
        _ => answer("200 OK", "", "content"),
    });
    let transport = Transport::default();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("x.rpm");
    let (right, wrong) = (Digest::of(b"content"), Digest::of(b"other"));
    for (path, digest) in [("cut", right), ("long", right), ("plain", wrong)] {
        let result = transport.download(&server.url(path), digest, 7, &target);
        assert!(result.is_err(), "{path}");
        assert!(folder.path().read_dir().unwrap().next().is_none(), "{path}");
    }
    let result = transport.download(&server.url("plain"), wrong, 7, &target);
    assert!(matches!(result, Err(Error::OtherFile { .. })));
    transport
        .download(&server.url("plain"), right, 7, &target)
        .unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"content");
}

#[test]
fn a_proxy_is_asked_where_one_is_given() {
    let proxy = Server::new(|_, _| answer("200 OK", "", "by proxy"));
    let transport = Transport::new(
        Proxies {
            http: Some(format!("http://{}", proxy.address)),
            except: Some("other.invalid,127.0.0.1".to_owned()),
            ..Proxies::default()
        },
        |path| std::fs::File::open(path),
    );
    let found = transport.read("http://repository.invalid/x", 50).unwrap();
    assert_eq!(found, b"by proxy");
    assert_eq!(*proxy.asked.lock().unwrap(), ["repository.invalid:80"]);
    // Neither a host that the environment names nor what is below it is asked through the proxy.
    let direct = Server::new(|_, _| answer("200 OK", "", "direct"));
    assert_eq!(transport.read(&direct.url("x"), 50).unwrap(), b"direct");
    assert!(transport.read("http://a.other.invalid/x", 50).is_err());
    assert_eq!(proxy.asked.lock().unwrap().len(), 1);
}

/// The list of metadata and the packages of a repository that has `a` in this version.
fn metadata(version: &str) -> [String; 2] {
    let digest = Digest::of(b"");
    let primary = format!(
        "<metadata><package type='rpm'><name>a</name><arch>noarch</arch>\
         <version epoch='0' ver='{version}' rel='1'/>\
         <checksum type='sha256' pkgid='YES'>{digest}</checksum><size package='1'/>\
         <location href='a.rpm'/></package></metadata>"
    );
    let digest = Digest::of(primary.as_bytes());
    let repomd = format!(
        "<repomd><data type='primary'><checksum type='sha256'>{digest}</checksum>\
         <location href='repodata/primary.xml'/><size>{}</size></data></repomd>",
        primary.len()
    );
    [repomd, primary]
}

/// What is read of the repository at a list of mirrors, and from where.
fn load(location: Location, prefer: Option<String>) -> Result<(String, String), Error> {
    let mut pool = Pool::of_installed(std::iter::empty(), Some(Arch::X86_64), false);
    let one = Repository {
        location,
        prefer,
        ..repository("")
    };
    let loaded = pool.add(&[one], &Transport::default(), &[], &Modules::default())?;
    Ok((loaded[0].place.clone(), pool.nevra(0)))
}

#[test]
fn mirrors_are_asked_in_turn_until_one_is_whole_and_fresh() {
    let [fresh, stale] = [metadata("2"), metadata("1")];
    let digest = Digest::of(fresh[0].as_bytes());
    let damaged = fresh[1].replace("a.rpm", "b.rpm");
    let mirrors = Server::new(move |_, path| match path {
        "/stale/repodata/repomd.xml" => answer("200 OK", "", &stale[0]),
        "/stale/repodata/primary.xml" => answer("200 OK", "", &stale[1]),
        "/damaged/repodata/primary.xml" => answer("200 OK", "", &damaged),
        "/cut/repodata/primary.xml" => {
            let mut cut = answer("200 OK", "", &fresh[1]);
            cut.truncate(cut.len() - 9);
            cut
        }
        "/moved/repodata/primary.xml" => {
            answer("302 Found", "Location: /fresh/repodata/primary.xml\r\n", "")
        }
        path if path.starts_with("/gone/") => answer("404 Not Found", "", ""),
        path if path.ends_with("repomd.xml") => answer("200 OK", "", &fresh[0]),
        _ => answer("200 OK", "", &fresh[1]),
    });
    let place = |name: &str| mirrors.url(&format!("{name}/"));
    let names = ["gone", "stale", "damaged", "cut", "moved", "fresh"];
    let mut urls = String::new();
    for name in names {
        let place = place(name);
        write!(urls, "<url>{place}repodata/repomd.xml</url>").unwrap();
    }
    let metalink = format!(
        "<metalink><files><file name='repomd.xml'><verification>\
         <hash type='sha256'>{digest}</hash></verification>\
         <resources>{urls}</resources></file></files></metalink>"
    );
    let list = format!("# all\n{}\n{}\n", place("stale"), place("fresh"));
    let lists = Server::new(move |_, path| match path {
        "/metalink" => answer("200 OK", "", &metalink),
        "/list" => answer("200 OK", "", &list),
        _ => answer("200 OK", "", "file:///\n"),
    });
    let metalink = || Location::Metalink(lists.url("metalink"));
    let second = "a-2-1.noarch".to_owned();
    assert_eq!(
        load(metalink(), None).unwrap(),
        (place("moved"), second.clone())
    );
    // What was read before is read again, but not where it is stale.
    let found = load(metalink(), Some(place("fresh"))).unwrap();
    assert_eq!(found, (place("fresh"), second.clone()));
    let found = load(metalink(), Some(place("stale"))).unwrap();
    assert_eq!(found, (place("moved"), second.clone()));
    let list = || Location::MirrorList(lists.url("list"));
    assert_eq!(load(list(), None).unwrap().1, "a-1-1.noarch");
    assert_eq!(load(list(), Some(place("fresh"))).unwrap().1, second);
    let error = load(Location::MirrorList(lists.url("local")), None).unwrap_err();
    assert!(error.to_string().contains("names none"), "{error}");
}
