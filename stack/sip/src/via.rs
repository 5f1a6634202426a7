use std::fmt;
use std::net::IpAddr;

use crate::error::HeaderError;
use crate::params::Params;
use crate::text;
use crate::uri::host_port;

/// One Via value (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The protocol's name, `SIP`.
    pub protocol: &'a str,
    /// The protocol's version, `2.0`.
    pub version: &'a str,
    /// `UDP`, `TCP`, `TLS`, `WS`, `WSS` or another token; compare it without regard to case.
    pub transport: &'a str,
    /// Host of sent-by; an IPv6 address in brackets.
    pub host: &'a str,
    /// Port of sent-by.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// What a branch of RFC 3261 starts with (§8.1.1.7).
    pub const MAGIC_COOKIE: &'static str = "z9hG4bK";

    /// Reads one value (no commas).
    ///
    /// # Errors
    /// [`HeaderError::Via`] or [`HeaderError::Parameter`].
    pub fn parse(value: &'a str) -> Result<Via<'a>, HeaderError> {
        let value = text::trim(value);
        let (protocol, rest) = value.split_once('/').ok_or(HeaderError::Via)?;
        let (version, rest) = rest.split_once('/').ok_or(HeaderError::Via)?;
        let (protocol, version, rest) = (text::trim(protocol), text::trim(version), text::trim_start(rest));
        let (transport, rest) = rest.split_once([' ', '\t', '\r', '\n']).ok_or(HeaderError::Via)?;
        if !text::is_token(protocol) || !text::is_token(version) || !text::is_token(transport) {
            return Err(HeaderError::Via);
        }
        let (sent_by, params) = text::split_at(rest, rest.find(';'));
        let (host, port) = host_port(text::trim(sent_by), true).ok_or(HeaderError::Via)?;
        Ok(Via { protocol, version, transport, host, port, params: Params::parse(params)? })
    }

    /// As much of an ill-formed value as can be read, from its start to the end of a parameter: enough to answer it.
    pub(crate) fn salvage(value: &'a str) -> Option<&'a str> {
        let ends = std::iter::once(value.len()).chain(value.rmatch_indices(';').map(|(at, _)| at));
        // bounded: a hostile value may hold thousands of semicolons, and each try reads it all
        let start = ends.take(64).filter_map(|end| value.get(..end)).map(text::trim);
        let mut readable = start.filter(|start| Via::parse(start).is_ok());
        readable.next()
    }

    /// The transaction's branch.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch")
    }

    /// Where the request came from, as the element after this one saw it (§18.2.1), without brackets.
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        value.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// RFC 3581: `None` without the parameter, `Some(None)` for the flag alone, `Some(Some(port))` once filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        let param = self.params.find("rport")?;
        Some(param.value.and_then(|value| value.parse().ok()))
    }

    /// The multicast or fixed address that answers go to (§18.2.2).
    pub fn maddr(&self) -> Option<&'a str> {
        self.params.value("maddr")
    }
}

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{} {}", self.protocol, self.version, self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}
