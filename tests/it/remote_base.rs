//! Bases that lie on a server: fetched once, pinned, and no server is asked by a build.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::example::{assert_success, imgasm};
use imgasm_block::Digest;
use imgasm_testkit::command::{run, text};

/// A server of one file, of which each of the first connections ends after some bytes.
struct Server {
    address: String,
    /// What it was asked for: path, and first byte.
    asked: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Server {
    fn new(content: Vec<u8>, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, cuts) = (Arc::clone(&asked), cuts.to_vec());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some((path, from)) = request(&stream) else {
                    continue;
                };
                let number = log.lock().unwrap().len();
                log.lock().unwrap().push((path, from));
                answer(stream, &content, from, cuts.get(number).copied());
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn asked(&self) -> Vec<(String, u64)> {
        self.asked.lock().unwrap().clone()
    }
}

/// The path of a request, and the byte from which on it wants the file.
fn request(stream: &TcpStream) -> Option<(String, u64)> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut from = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        let line = line.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok()?;
        }
    }
    Some((path, from))
}

fn answer(mut stream: TcpStream, content: &[u8], from: u64, cut: Option<usize>) {
    let (all, from) = (content.len(), usize::try_from(from).unwrap());
    let left = &content[from.min(all)..];
    let head = match from {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        from if from >= all => "HTTP/1.1 416 Range Not Satisfiable\r\n".to_owned(),
        from => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}\r\n",
            all - 1
        ),
    };
    let sent = &left[..cut.unwrap_or(left.len()).min(left.len())];
    let head = format!(
        "{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
        left.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(sent);
}

/// A command in a folder with a cache of its own.
fn command(dir: &Path, args: &[&str]) -> Output {
    let mut command = imgasm();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command
        .args(args)
        .current_dir(dir)
        .env("IMGASM_CACHE", dir.join("cache"));
    command.output().unwrap()
}

/// A packed tar file with the tree of a root filesystem, and its digest.
fn tarball(dir: &Path) -> (Vec<u8>, Digest) {
    fs::create_dir_all(dir.join("root/etc")).unwrap();
    fs::write(dir.join("root/etc/os-release"), "ID=here\n").unwrap();
    let noise: Vec<u8> = (0..200_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(dir.join("root/etc/noise"), noise).unwrap();
    run(Command::new("tar")
        .args([
            "-czf",
            "root.tar.gz",
            "-C",
            "root",
            "--owner=0",
            "--group=0",
            ".",
        ])
        .current_dir(dir));
    let bytes = fs::read(dir.join("root.tar.gz")).unwrap();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

fn recipe(dir: &Path, base: &str) {
    fs::write(
        dir.join("imgasm.toml"),
        format!("name = 'x'\nbase = {base}\n"),
    )
    .unwrap();
}

#[test]
fn fetched_over_connections_that_break_and_then_built_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (bytes, digest) = tarball(dir);
    let server = Server::new(bytes, &[300_000, 10]);
    let url = server.url("pub/root.tar.gz");
    recipe(
        dir,
        &format!("{{ rootfs = '{url}', sha256 = '{digest}', size = '64 MiB' }}"),
    );

    let early = command(dir, &["build", "-o", "out"]);
    assert_eq!(early.status.code(), Some(2));
    let said = text(&early);
    assert!(
        said.contains(&format!("{url} has not been fetched")),
        "{said}"
    );
    assert!(said.contains("imgasm fetch"), "{said}");
    assert!(server.asked().is_empty() && !dir.join("out").exists());

    let fetched = command(dir, &["fetch"]);
    assert_success(&fetched);
    let path = "/pub/root.tar.gz".to_owned();
    let asked = [(path.clone(), 0), (path.clone(), 300_000), (path, 300_010)];
    assert_eq!(server.asked(), asked);
    assert_success(&command(dir, &["fetch"]));
    assert_eq!(server.asked().len(), 3);

    assert_success(&command(dir, &["build", "-o", "out"]));
    let file = command(dir, &["cat", "out/x.raw", "/etc/os-release"]);
    assert_eq!(file.stdout, b"ID=here\n");
    let manifest = fs::read_to_string(dir.join("out/manifest.json")).unwrap();
    assert!(manifest.contains("\"root.tar.gz\"") && manifest.contains(&digest.to_string()));

    // It is as good as the same file beside the recipe, and as one in `vendor`.
    let image = fs::read(dir.join("out/x.raw")).unwrap();
    recipe(
        dir,
        &format!("{{ rootfs = 'root.tar.gz', sha256 = '{digest}', size = '64 MiB' }}"),
    );
    assert_success(&command(dir, &["build", "-o", "out"]));
    assert_eq!(fs::read(dir.join("out/x.raw")).unwrap().len(), image.len());
    let tree = |image: &str| command(dir, &["tar", image]).stdout;
    let local = tree("out/x.raw");
    fs::write(dir.join("fetched.raw"), &image).unwrap();
    assert_eq!(tree("fetched.raw"), local);
}

#[test]
fn a_disk_in_the_folder_beside_the_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tarball(dir);
    recipe(dir, "{ rootfs = 'root.tar.gz', size = '64 MiB' }");
    assert_success(&command(dir, &["build", "-o", "base"]));
    run(Command::new("gzip").arg("-n").arg(dir.join("base/x.raw")));
    let bytes = fs::read(dir.join("base/x.raw.gz")).unwrap();
    let digest = Digest::of(&bytes);
    let server = Server::new(bytes, &[]);
    let url = server.url("x.raw.gz?version=7");
    fs::create_dir_all(dir.join("common")).unwrap();
    fs::write(
        dir.join("common/imgasm.toml"),
        format!("name = 'y'\nbase = {{ file = '{url}', sha256 = '{digest}' }}\n"),
    )
    .unwrap();
    // A URL is the same wherever the recipe lies that names it.
    fs::write(dir.join("imgasm.toml"), "extends = 'common/imgasm.toml'\n").unwrap();
    fs::write(dir.join("imgasm.root"), "").unwrap();
    let fetched = command(dir, &["fetch", "--vendor"]);
    assert_success(&fetched);
    assert_eq!(server.asked(), [("/x.raw.gz?version=7".to_owned(), 0)]);
    let vendored = dir.join("vendor/x.raw.gz");
    assert!(vendored.is_file());
    assert_success(&command(dir, &["build", "-o", "out"]));
    assert!(dir.join("out/y.raw").is_file());

    // What lies there is not believed.
    fs::write(&vendored, "else").unwrap();
    let built = command(dir, &["build", "-o", "out"]);
    assert_eq!(built.status.code(), Some(2));
    assert!(
        text(&built).contains(&digest.to_string()),
        "{}",
        text(&built)
    );
}

#[test]
fn what_is_not_pinned_or_not_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = Server::new(b"not it".to_vec(), &[]);
    let url = server.url("base.raw");
    recipe(dir, &format!("{{ file = '{url}' }}"));
    let unpinned = command(dir, &["fetch"]);
    assert_eq!(unpinned.status.code(), Some(2));
    assert!(
        text(&unpinned).contains("needs a `sha256`"),
        "{}",
        text(&unpinned)
    );
    assert!(server.asked().is_empty());

    let digest = Digest::of(b"it");
    recipe(dir, &format!("{{ file = '{url}', sha256 = '{digest}' }}"));
    let wrong = command(dir, &["fetch"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("has the SHA-256"), "{}", text(&wrong));
    let long = command(dir, &["fetch", "--max-size", "5 B"]);
    assert!(text(&long).contains("more than 5 bytes"), "{}", text(&long));
    let left = fs::read_dir(dir.join("cache/downloads")).unwrap();
    assert_eq!(left.count(), 0);
}
