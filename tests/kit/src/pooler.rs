//! PgBouncer before a Postgres, in transaction mode.

use std::{fs, path::Path};

use tokio::net::TcpStream;

use crate::{
    companion::Companion,
    postgres::{as_user, unprivileged},
    process::{START_LIMIT, free_port, until},
};

/// A pooler that lends five connections of the server, each for a transaction.
pub struct Pooler {
    port: u16,
    _companion: Companion,
}

impl Pooler {
    /// What `url` leads to, by way of a pooler. `ignores`: the start parameters that it passes over; it refuses others.
    pub async fn start(url: &str, ignores: &str) -> (Self, String) {
        let (authority, database) = url.rsplit_once('/').expect("a database");
        let (_, server) = authority.rsplit_once(':').expect("a port");
        let port = free_port();
        let folder = Companion::folder("pgbouncer");
        let settings = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 5\nmax_db_connections = 5\nmax_client_conn = 100\n\
             ignore_startup_parameters = {ignores}\n"
        );
        fs::write(folder.join("pgbouncer.ini"), settings).expect("a file");
        let program = Path::new("/usr/sbin/pgbouncer");
        // It refuses to run as root, like Postgres.
        let mut command = as_user(&unprivileged(), program);
        command.arg(folder.join("pgbouncer.ini"));
        let companion = Companion::run(program, command, folder);
        until(
            &format!("PgBouncer listens\n{}", companion.log_tail()),
            START_LIMIT,
            || async { TcpStream::connect(("127.0.0.1", port)).await.is_ok() },
        )
        .await;
        let this = Self {
            port,
            _companion: companion,
        };
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", this.port);
        (this, url)
    }
}
