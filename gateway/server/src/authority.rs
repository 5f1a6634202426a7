//! Whose tokens are believed: certificates that are given, or asked of the clearinghouse.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use strowger_enrollment::{TepAnswer, TepRequest};
use strowger_token::{Verifier, VerifyingKey};

use crate::config::AuthoritySource;
use crate::gateway::GatewayError;
use crate::http::Poster;

const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LAST_BACK_OFF: Duration = Duration::from_secs(5);

/// The verifier, when the configuration alone gives it.
pub(crate) fn given(source: &AuthoritySource) -> Result<Option<Verifier>, GatewayError> {
    let certificates = match source {
        AuthoritySource::Clearinghouse => return Ok(None),
        AuthoritySource::Der(certificates) => certificates.clone(),
        AuthoritySource::Pem(text) => from_pem(text)?,
    };
    if certificates.is_empty() {
        return Err(GatewayError::Authority("no certificate is given".to_owned()));
    }
    let keys: Result<Vec<_>, _> =
        certificates.iter().map(|certificate| VerifyingKey::from_certificate(certificate)).collect();
    let keys = keys.map_err(|error| GatewayError::Authority(error.to_string()))?;
    Ok(Some(Verifier::new(keys)))
}

fn from_pem(text: &str) -> Result<Vec<Vec<u8>>, GatewayError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let wrong = || GatewayError::Authority("the PEM text holds no readable certificate".to_owned());
    let mut certificates = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let (body, _) = block.split_once(END).ok_or_else(wrong)?;
        let body: String = body.split_ascii_whitespace().collect();
        certificates.push(STANDARD.decode(body).map_err(|_| wrong())?);
    }
    Ok(certificates)
}

/// Asks the URLs in turn until one answers with a certificate. Ends by being dropped.
pub(crate) async fn fetch(poster: &Poster, osp_urls: &[String]) -> Verifier {
    let mut back_off = FIRST_BACK_OFF;
    let mut complained = false;
    loop {
        for url in osp_urls {
            match ask(poster, url).await {
                Ok(key) => return Verifier::new(vec![key]),
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!(
                        url,
                        error,
                        "the clearinghouse has not told its key; calls are answered 503 until it does"
                    );
                }
                Err(error) => tracing::debug!(url, error, "the clearinghouse has not told its key"),
            }
        }
        tokio::time::sleep(back_off).await;
        back_off = (back_off * 2).min(LAST_BACK_OFF);
    }
}

async fn ask(poster: &Poster, url: &str) -> Result<VerifyingKey, String> {
    let body = Bytes::from(TepRequest::AuthorityCertificate.to_body());
    let answer = poster.post(url, "/tep", "application/x-www-form-urlencoded", body).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match TepAnswer::parse(&answer).map_err(|error| error.to_string())? {
        TepAnswer::AuthorityCertificate { certificate } => {
            VerifyingKey::from_certificate(&certificate).map_err(|error| error.to_string())
        }
        _ => Err("another answer than a certificate".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_clock::Timestamp;
    use strowger_enrollment::Authority;

    #[test]
    fn certificates_are_read_from_pem_and_der_and_nothing_else_is() {
        let now = Timestamp::from_unix_seconds(1_795_255_200);
        let authority = Authority::create("Example", "CA", now, Duration::from_secs(86_400), [7; 16]).unwrap();
        let two = format!("{}\n{}", authority.certificate_pem(), authority.certificate_pem());
        assert_eq!(from_pem(&two).unwrap(), vec![authority.certificate().to_vec(); 2]);
        assert!(given(&AuthoritySource::Pem(two)).unwrap().is_some());
        assert!(given(&AuthoritySource::Der(vec![authority.certificate().to_vec()])).unwrap().is_some());
        assert!(given(&AuthoritySource::Clearinghouse).unwrap().is_none());
        for wrong in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA", "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----"]
        {
            assert!(given(&AuthoritySource::Pem(wrong.to_owned())).is_err(), "{wrong}");
        }
        assert!(given(&AuthoritySource::Der(vec![vec![1, 2, 3]])).is_err());
    }
}
