//! Who calls, and from where.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use ipnet::IpNet;
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;

use super::Gateway;
use super::error::ApiError;
use crate::auth::Identity;
use crate::ids::User;
use crate::protocol::ErrorType;

/// Somebody with a valid token whose account still exists.
#[derive(SecurityScheme)]
#[oai(rename = "token", ty = "bearer", bearer_format = "JWT", checker = "check")]
pub struct Caller(Identity);

impl Caller {
    pub const fn user(&self) -> &User {
        &self.0.user
    }
}

async fn check(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let Some(gateway) = request.data::<Arc<Gateway>>() else {
        return Err(ApiError::internal(&"a route without its parts").into());
    };
    Ok(gateway.identify(&bearer.token).await?)
}

impl Gateway {
    /// Whose token it is. What is not signed by us does not reach the database (I8).
    pub async fn identify(&self, token: &str) -> Result<Identity, ApiError> {
        let identity = self.tokens.check(token)?;
        match self.context.store.has_account(identity.user.id).await? {
            true => Ok(identity),
            false => Err(ApiError::new(
                ErrorType::InvalidAuthToken,
                "the token's account does not exist any more",
            )),
        }
    }

    /// The client's address: the peer's, or what a trusted proxy says of it.
    pub fn address(&self, request: &Request, peer: IpAddr) -> IpAddr {
        let forwarded = request
            .headers()
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok());
        client_address(
            peer,
            &forwarded.collect::<Vec<_>>().join(","),
            &self.trusted_proxies,
        )
    }
}

/// The token of an `Authorization: Bearer` header.
pub fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request
        .headers()
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Walks back from the peer as long as proxies are trusted.
fn client_address(peer: IpAddr, forwarded: &str, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| {
        trusted
            .iter()
            .any(|network| network.contains(&address.to_canonical()))
    };
    let mut address = peer;
    for hop in forwarded.rsplit(',') {
        if !is_trusted(&address) {
            break;
        }
        match hop.trim().parse() {
            Ok(hop) => address = hop,
            Err(_) => break,
        }
    }
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let address =
            |peer: &str, forwarded| client_address(peer.parse().unwrap(), forwarded, &trusted).to_string();
        assert_eq!(address("1.2.3.4", "6.6.6.6"), "1.2.3.4");
        assert_eq!(address("10.0.0.1", "6.6.6.6, 1.2.3.4"), "1.2.3.4");
        assert_eq!(address("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
        assert_eq!(address("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(address("10.0.0.1", "nonsense"), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", "1.2.3.4"), "1.2.3.4");
    }
}
