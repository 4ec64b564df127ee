//! A certificate authority, for servers that speak TLS.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::companion::Companion;

/// In a folder, as PEM: `ca.pem`, and `server` and `client` with `.pem` and `.key`. The server is 127.0.0.1.
pub struct Authority(PathBuf);

impl Default for Authority {
    fn default() -> Self {
        let this = Self(Companion::folder("authority"));
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = || KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        this.write("ca.pem", &ca.pem());
        for (name, subject) in [("server", "127.0.0.1"), ("client", "chat-gateway")] {
            let key = key();
            let params = CertificateParams::new(vec![subject.to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            this.write(&format!("{name}.pem"), &certificate.pem());
            this.write(&format!("{name}.key"), &key.serialize_pem());
        }
        this
    }
}

impl Authority {
    fn write(&self, name: &str, pem: &str) {
        fs::write(self.0.join(name), pem).expect("a file");
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("a file")
    }
}
