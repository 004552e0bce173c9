//! A real nginx in front of a service, for tests.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{free_port, wait_until};

/// A running nginx. It ends with this value.
pub struct Nginx {
    /// Its address, on loopback.
    pub address: SocketAddr,
    /// Its files: a configuration may name further files here by relative paths.
    pub folder: PathBuf,
    process: Child,
}

impl Nginx {
    /// Starts nginx on a free port, and waits until it accepts connections. `http` returns the
    /// content of the block `http` of its configuration, given the port and the folder to which
    /// relative paths refer; it may write files there.
    ///
    /// There is one process without workers, so that nothing is left when it is killed.
    pub async fn start(http: impl FnOnce(u16, &Path) -> String) -> Self {
        let port = free_port().expect("a port is free");
        let name = format!("waybill-nginx-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
        let http = http(port, &folder);
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {kind}_temp;\n")).concat();
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temporary}{http}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), configuration).expect("the folder can be written");
        let process = Command::new(program())
            .arg("-p")
            .arg(&folder)
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed; scripts/setup --tests installs it");
        let mut nginx = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), folder, process };
        wait_until("nginx to accept connections", async || {
            let ended = nginx.process.try_wait().expect("its state can be read");
            assert!(ended.is_none(), "nginx has ended with {ended:?}; see its messages above");
            TcpStream::connect(nginx.address).await.is_ok()
        })
        .await;
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the program. On Debian, it is not in the `PATH` of an ordinary user.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("nginx")).find(|program| program.is_file());
    found.expect("nginx is installed; scripts/setup --tests installs it")
}
