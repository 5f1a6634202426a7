//! The S/MIME form of a message: `multipart/signed` (RFC 1847 §2.1) around the XML and a detached PKCS#7 signature (RFC 8551 §3.5.3).
//!
//! This module takes the parts apart and puts them together; it neither makes nor checks signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::MAX_MESSAGE_OCTETS;
use crate::{OspError, Status};

/// Octets of the header block of one part.
pub const MAX_PART_HEADER_OCTETS: usize = 2048;
/// Octets of the signature.
pub const MAX_SIGNATURE_OCTETS: usize = 16 * 1024;
/// Octets of a boundary (RFC 2046 §5.1.1).
pub const MAX_BOUNDARY_OCTETS: usize = 70;

/// What an HTTP body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The XML alone.
    Plain(&'a [u8]),
    /// The XML with a signature.
    Signed {
        /// What the signature is over: the first part with its headers.
        signed: &'a [u8],
        /// The XML within it.
        xml: &'a [u8],
        /// DER of a PKCS#7 SignedData without content.
        signature: Vec<u8>,
    },
}

impl<'a> Payload<'a> {
    /// Takes a body apart according to its Content-Type; none means `text/plain`.
    ///
    /// # Errors
    /// 410 for a content type or transfer encoding that is not supported, 411 for parts that are not there or beyond a limit.
    pub fn parse(content_type: Option<&str>, body: &'a [u8]) -> Result<Payload<'a>, OspError> {
        if body.len() > MAX_MESSAGE_OCTETS {
            return Err(malformed("message is beyond its limit"));
        }
        let content_type = content_type.unwrap_or("text/plain").trim();
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        match kind.trim().to_ascii_lowercase().as_str() {
            "text/plain" | "text/xml" | "application/xml" => Ok(Payload::Plain(body)),
            "multipart/signed" => {
                let boundary = parameter(parameters, "boundary")
                    .filter(|boundary| !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY_OCTETS)
                    .ok_or_else(|| malformed("multipart/signed without a boundary"))?;
                signed(body, boundary)
            }
            other => Err(OspError::new(Status::ENCODING_ERROR, format!("content type {other} is not supported"))),
        }
    }

    /// The XML, signed or not.
    pub fn xml(&self) -> &'a [u8] {
        match self {
            Payload::Plain(xml) | Payload::Signed { xml, .. } => xml,
        }
    }
}

fn malformed(what: &str) -> OspError {
    OspError::new(Status::PARSE_ERROR, what)
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn signed<'a>(body: &'a [u8], boundary: &str) -> Result<Payload<'a>, OspError> {
    let dash = format!("--{boundary}");
    // The line break before a boundary belongs to the boundary.
    let delimiter = format!("\r\n{dash}");
    let start = find(body, dash.as_bytes()).ok_or_else(|| malformed("boundary is missing"))?;
    let rest = after_line(&body[start + dash.len()..])?;
    let end = find(rest, delimiter.as_bytes()).ok_or_else(|| malformed("second part is missing"))?;
    let (first, rest) = rest.split_at(end);
    let rest = after_line(&rest[delimiter.len()..])?;
    let close = format!("{delimiter}--");
    let end = find(rest, close.as_bytes()).ok_or_else(|| malformed("closing boundary is missing"))?;
    let second = &rest[..end];

    let (_, xml) = part(first)?;
    let (headers, signature) = part(second)?;
    let kind = header(headers, "content-type").unwrap_or_default().to_ascii_lowercase();
    if !kind.starts_with("application/pkcs7-signature") && !kind.starts_with("application/x-pkcs7-signature") {
        return Err(OspError::new(Status::ENCODING_ERROR, "second part is no PKCS#7 signature"));
    }
    let encoding = header(headers, "content-transfer-encoding").unwrap_or("binary").to_ascii_lowercase();
    let signature = match encoding.as_str() {
        "binary" | "8bit" => signature.to_vec(),
        "base64" => {
            let compact: Vec<u8> = signature.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
            STANDARD.decode(compact).map_err(|_| OspError::new(Status::ENCODING_ERROR, "signature is not base64"))?
        }
        other => {
            return Err(OspError::new(Status::ENCODING_ERROR, format!("transfer encoding {other} is not supported")));
        }
    };
    if signature.is_empty() || signature.len() > MAX_SIGNATURE_OCTETS {
        return Err(malformed("signature is empty or beyond its limit"));
    }
    Ok(Payload::Signed { signed: first, xml, signature })
}

/// What follows the rest of this line.
fn after_line(octets: &[u8]) -> Result<&[u8], OspError> {
    match find(octets, b"\r\n") {
        Some(end) if octets[..end].iter().all(|octet| matches!(octet, b' ' | b'\t')) => Ok(&octets[end + 2..]),
        _ => Err(malformed("boundary is not a line of its own")),
    }
}

/// The header block and the content of a part.
fn part(part: &[u8]) -> Result<(&str, &[u8]), OspError> {
    if let Some(content) = part.strip_prefix(b"\r\n") {
        return Ok(("", content));
    }
    let end = find(part, b"\r\n\r\n")
        .filter(|end| *end <= MAX_PART_HEADER_OCTETS)
        .ok_or_else(|| malformed("part has no header, or one beyond its limit"))?;
    let headers = std::str::from_utf8(&part[..end]).map_err(|_| malformed("part header is not text"))?;
    Ok((headers, &part[end + 4..]))
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The octets to sign: the first part with its headers.
pub fn part_to_sign(xml: &str) -> Vec<u8> {
    format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{xml}", xml.len()).into_bytes()
}

/// Puts the body together: the part that was signed, and its signature. Returns the Content-Type and the body.
pub fn to_body(signed_part: &[u8], signature: &[u8], boundary: &str) -> (String, Vec<u8>) {
    let content_type =
        format!("multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=\"{boundary}\"");
    let mut body = Vec::with_capacity(signed_part.len() + signature.len() + 256);
    body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
    body.extend_from_slice(signed_part);
    body.extend_from_slice(
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--{boundary}--\r\n",
            STANDARD.encode(signature)
        )
        .as_bytes(),
    );
    (content_type, body)
}
