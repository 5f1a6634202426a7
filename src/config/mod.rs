//! The configuration file: TOML, one file, unknown keys are errors that name the key and the nearest known one.

pub mod complete;
mod sections;

pub use sections::{Edge, File, GatewaySection, ProxySection, RouterSection};

use std::path::{Path, PathBuf};

/// The complete commented configuration that `strowger config example` prints, and that `strowger up` runs without a file.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What is wrong with a configuration: one sentence that says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(
        "cannot read the configuration {path}: {error}; `strowger config example > {path}` writes one to start from"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It is no TOML, or has a key or value that does not belong there.
    #[error("{path}{line}: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// `, line N` where it is known.
        line: String,
        /// What is wrong.
        message: String,
    },
    /// A value is wrong.
    #[error("{key}: {message}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// A fault of a value.
pub fn value_error(key: impl Into<String>, message: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), message: message.into() }
}

impl File {
    /// Reads and completes a configuration file; the built-in example without one.
    pub fn load(path: Option<&Path>) -> Result<File, ConfigError> {
        match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ConfigError::Unreadable { path: path.display().to_string(), error })?;
                let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
                let mut file = File::parse(&text, &path.display().to_string(), &base)?;
                file.source = Some(path.to_owned());
                Ok(file)
            }
            None => File::parse(EXAMPLE, "the built-in example", &PathBuf::new()),
        }
    }

    /// Reads and completes configuration text. `base` is where relative paths of passwords start.
    pub fn parse(text: &str, name: &str, base: &Path) -> Result<File, ConfigError> {
        let mut file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| {
                let before = text.get(..span.start).unwrap_or_default();
                format!(", line {}", before.matches('\n').count() + 1)
            });
            ConfigError::Syntax {
                path: name.to_owned(),
                line: line.unwrap_or_default(),
                message: with_nearest(error.message()),
            }
        })?;
        file.complete(base)?;
        Ok(file)
    }
}

/// Turns serde's "unknown field `lisen`, expected one of `listen`, `advertise`" into a sentence that names the nearest key.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = match quoted.next() {
        Some(unknown) if message.starts_with("unknown field") => unknown,
        _ => return message.trim().replace('\n', "; "),
    };
    let nearest = quoted.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
    match nearest {
        Some(nearest) => format!("unknown key `{unknown}`; the nearest known one is `{nearest}`"),
        None => format!("unknown key `{unknown}`; no key is known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, ConfigError> {
        File::parse(text, "t.toml", Path::new(""))
    }

    #[test]
    fn the_example_is_a_configuration() {
        let file = File::load(None).unwrap();
        assert!(file.proxy.is_some() && file.gateway.len() == 2 && file.clearinghouse.is_some());
        assert!(file.policy.is_some() && file.router.is_some() && file.console.is_some());
    }

    #[test]
    fn the_design_pages_short_example_is_completed() {
        let file = parse(
            r#"
            data = "d"
            store = "sqlite"
            [domain]
            name = "example.test"
            [proxy]
            listen = ["udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"]
            [[subscriber]]
            user = "alice"
            password = "secret"
            [gateway]
            listen = ["udp://127.0.0.1:5070"]
            [clearinghouse]
            listen = ["http://127.0.0.1:5045/osp"]
            [policy]
            listen = "127.0.0.1:3288"
            [console]
            listen = "127.0.0.1:8080"
            "#,
        )
        .unwrap();
        let house = file.clearinghouse.unwrap();
        assert!(house.table().is_ok());
        for address in ["127.0.0.1:5070", "127.0.0.1:5072"] {
            assert!(house.devices.iter().any(|device| device.address.as_deref() == Some(address)));
        }
        assert_eq!(file.gateway.len(), 2);
        assert_eq!(file.proxy.unwrap().clearinghouse, ["http://127.0.0.1:5045/osp"]);
    }

    #[test]
    fn unknown_key_names_the_nearest_and_the_line() {
        let error = parse("[proxy]\nlisen = [\"udp://127.0.0.1:5060\"]\n").unwrap_err().to_string();
        assert_eq!(error, "t.toml, line 2: unknown key `lisen`; the nearest known one is `listen`");
        let error = parse("[proxi]\n").unwrap_err().to_string();
        assert!(error.ends_with("unknown key `proxi`; the nearest known one is `proxy`"), "{error}");
    }

    #[test]
    fn wrong_values_are_named_by_their_key() {
        for (text, part) in [
            ("store = \"oracle\"", "store: "),
            ("[proxy]\nlisten = [\"udp://nowhere\"]", "proxy.listen: "),
            ("[proxy]\nlisten = []", "proxy.listen: "),
            ("[proxy]\nlisten = [\"udp://127.0.0.1:1\"]\ndigest = [\"md4\"]", "proxy.digest: "),
            ("[proxy]\nlisten = [\"udp://0.0.0.0:1\"]", "proxy.listen: "),
            ("[gateway]\nlisten = [\"udp://0.0.0.0:1\"]", "gateway.listen: "),
            ("[[subscriber]]\nuser = \"a\"", "subscriber.a: "),
            ("[[subscriber]]\nuser = \"a\"\npassword = \"x\"\nha1 = \"y\"", "subscriber.a: "),
            ("[[subscriber]]\nuser = \"a\"\nha1 = \"y\"", "subscriber.a: "),
            ("[gateway]\nlisten = [\"udp://127.0.0.1:1\"]\nrtp_ports = \"9-1\"", "gateway.rtp_ports: "),
            ("[router]\n[[router.interface]]\nname = \"a\"\nnetwork = \"10.0.0.1\"", "router.interface.a: "),
            ("[policy]\nlisten = \"x\"", "policy.listen: "),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(part), "{text:?} gave {error:?}");
        }
    }
}
