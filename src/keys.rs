//! Secrets that outlive the process: random octets in files that only their owner reads.

use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The secret in a file; made the first time.
///
/// # Errors
/// One sentence that names the file.
pub fn stored<const OCTETS: usize>(path: &Path) -> std::io::Result<[u8; OCTETS]> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    match std::fs::read(path) {
        Ok(octets) => octets.try_into().map_err(|_| {
            Error::new(
                ErrorKind::InvalidData,
                format!("{} is damaged; remove it and a new one is made", path.display()),
            )
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut key = [0u8; OCTETS];
            getrandom::fill(&mut key).map_err(Error::other)?;
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(named)?;
            }
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options.open(path).and_then(|mut file| file.write_all(&key)).map_err(named)?;
            Ok(key)
        }
        Err(error) => Err(named(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_and_a_damaged_one_is_named() {
        let folder = std::env::temp_dir().join(format!("strowger-keys-{}", std::process::id()));
        let path = folder.join("a.key");
        let key = stored::<32>(&path).unwrap();
        assert_eq!(stored::<32>(&path).unwrap(), key);
        assert!(key.iter().any(|octet| *octet != 0));
        assert!(stored::<16>(&path).unwrap_err().to_string().contains("is damaged"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
