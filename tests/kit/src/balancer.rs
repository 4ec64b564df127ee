//! nginx, HAProxy, Caddy or Traefik before replicas, with the configuration that deployments are told to use, or one of a test's own.

use std::{fs, path::Path};

use tokio::net::TcpStream;

use crate::companion::Companion;
use crate::process::{START_LIMIT, free_port, until};
use crate::watching::script;

/// A balancer on a port of its own. Ends when it is dropped.
pub struct Balancer {
    port: u16,
    process: Companion,
}

impl Balancer {
    /// nginx with this site, in which `listen 80;` is its own port and `127.0.0.1:8080` the replica's.
    pub async fn nginx(site: &str, replica: &str) -> Self {
        let (port, folder) = (free_port(), Companion::folder("nginx"));
        assert!(
            site.contains("listen 80;") && site.contains("127.0.0.1:8080"),
            "{site}"
        );
        let site = site
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
            .replace("127.0.0.1:8080", replica);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .collect();
        let configuration = format!(
            "daemon off; master_process off; pid pid; error_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{site}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).expect("a configuration");
        let args = ["-p", ".", "-c", "nginx.conf", "-e", "stderr"];
        let process = Companion::start(Path::new("/usr/sbin/nginx"), args, folder);
        Self { port, process }.listening().await
    }

    /// HAProxy with this configuration, the replica three times in it.
    pub async fn haproxy(file: &Path, replica: &str, ops: &str) -> Self {
        let port = free_port();
        let ops_port = ops.rsplit(':').next().unwrap_or_default();
        let mut args = vec![format!("CHAT_BIND=127.0.0.1:{port}")];
        for n in 1..=3 {
            args.push(format!("REPLICA_{n}={replica}"));
            args.push(format!("REPLICA_{n}_OPS_PORT={ops_port}"));
        }
        args.extend(["/usr/sbin/haproxy", "-db", "-f"].map(str::to_owned));
        args.push(file.display().to_string());
        let process = Companion::start(Path::new("env"), args, Companion::folder("haproxy"));
        Self { port, process }.listening().await
    }

    /// Caddy with this file, in which `:80` is its own address and `127.0.0.1:8080` the replica's.
    pub async fn caddy(file: &str, replica: &str) -> Self {
        let (port, folder) = (free_port(), Companion::folder("caddy"));
        assert!(
            file.contains(":80 {") && file.contains("127.0.0.1:8080"),
            "{file}"
        );
        let file = file
            .replace(":80 {", &format!("http://:{port} {{"))
            .replace("127.0.0.1:8080", replica);
        fs::write(folder.join("Caddyfile"), format!("{{\n\tadmin off\n}}\n{file}")).expect("a configuration");
        let args = ["run", "--config", "Caddyfile"];
        let process = Companion::start(Path::new("caddy"), args, folder);
        Self { port, process }.listening().await
    }

    /// Traefik with these two files, in which `:80` is its own address and `127.0.0.1:8080` the replica's. `None` where there
    /// is none to be had, which has been said as by [`skipped`].
    pub async fn traefik(start: &str, routes: &str, replica: &str) -> Option<Self> {
        let binary = script("traefik").await?;
        let (port, folder) = (free_port(), Companion::folder("traefik"));
        assert!(
            start.contains("\":80\"") && routes.contains("127.0.0.1:8080"),
            "{start}{routes}"
        );
        let start = start.replace(":80\"", &format!("127.0.0.1:{port}\""));
        fs::write(folder.join("traefik.yaml"), start).expect("a configuration");
        fs::write(
            folder.join("chat.yaml"),
            routes.replace("127.0.0.1:8080", replica),
        )
        .expect("routes");
        let process = Companion::start(&binary, ["--configFile=traefik.yaml"], folder);
        Some(Self { port, process }.listening().await)
    }

    async fn listening(self) -> Self {
        let listens = || async { TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() };
        until(
            &format!("it listens\n{}", self.process.log_tail()),
            START_LIMIT,
            listens,
        )
        .await;
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
