//! Which tests carry which claim of the project. A test says so by its name: `qs4_…` carries QS4, `ch2_pa2_…` both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The list of claims, from the root of the workspace.
const LIST: &str = "tests/scenario/claims.txt";
/// Folders that hold no sources of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];
/// Width of the column of ids.
const ID_COLUMN: usize = 5;

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    id: String,
    title: String,
    /// What is still to come although tests carry it.
    open: Option<String>,
}

/// Prints the table; a finding for each test that carries a claim nobody made.
pub fn run() -> Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace has a root")?;
    let list = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let claims = claims(&list)?;
    let tests = tests_below(root)?;
    let mut missing = Vec::new();
    for Claim { id, title, open } in &claims {
        println!("{id:<ID_COLUMN$} {title}");
        let carriers = tests.get(id);
        for (test, file) in carriers.into_iter().flatten() {
            println!("{:ID_COLUMN$}   {test}  ({file})", "");
        }
        match (carriers, open) {
            (None, _) => missing.push(id.as_str()),
            (Some(_), Some(open)) => println!("{:ID_COLUMN$}   to come: {open}", ""),
            (Some(_), None) => {}
        }
    }
    let carried = claims.len() - missing.len();
    println!("\n{carried} of {} claims have tests; none yet: {}", claims.len(), missing.join(" "));
    let known: BTreeSet<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
    let mut findings = 0;
    for (id, carriers) in tests.iter().filter(|(id, _)| !known.contains(id.as_str())) {
        for (test, file) in carriers {
            println!("{file}: test {test} carries {id}, which {LIST} does not have");
            findings += 1;
        }
    }
    Ok(findings)
}

fn claims(list: &str) -> Result<Vec<Claim>> {
    let mut claims: Vec<Claim> = Vec::new();
    for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((id, rest)) = line.split_once(' ') else { bail!("{LIST}: a claim without a title: {line}") };
        if claim_of(&id.to_ascii_lowercase()).as_deref() != Some(id) || claims.iter().any(|claim| claim.id == id) {
            bail!("{LIST}: {id} is no id, or is there twice");
        }
        let (title, open) = match rest.split_once(" | ") {
            Some((title, open)) => (title, Some(open.trim().to_owned())),
            None => (rest, None),
        };
        claims.push(Claim { id: id.to_owned(), title: title.trim().to_owned(), open });
    }
    Ok(claims)
}

/// Claim to tests, each with its file.
fn tests_below(root: &Path) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut tests: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for path in sources(root)? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for test in test_names(&text) {
            for claim in carried_by(test) {
                tests.entry(claim).or_default().push((test.to_owned(), file.clone()));
            }
        }
    }
    Ok(tests)
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.extend((!SKIPPED.iter().any(|skipped| name == *skipped)).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Names of the functions that a `#[test]` or `#[tokio::test]` stands before.
fn test_names(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        if let Some(function) = function {
            names.extend(is_test.then(|| function.split('(').next()).flatten());
        }
        // other attributes and comments may stand between
        let between = line.starts_with("#[") || line.starts_with("//");
        is_test = (is_test && between) || line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    }
    names
}

/// The claims at the beginning of a test's name.
fn carried_by(test: &str) -> Vec<String> {
    test.split('_').map_while(claim_of).collect()
}

/// `qs4` and `qs04` are QS4.
fn claim_of(word: &str) -> Option<String> {
    let digits = word.find(|letter: char| letter.is_ascii_digit())?;
    let (family, number) = word.split_at(digits);
    let is_family = ["ch", "cs", "pa", "rb", "si", "qs", "ex"].contains(&family);
    let number: u32 = number.parse().ok()?;
    is_family.then(|| format!("{}{number}", family.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_claims_they_begin_with() {
        assert_eq!(carried_by("ch2_pa2_client_direct"), ["CH2", "PA2"]);
        assert_eq!(carried_by("qs04_install_confirmed_by_rpt"), ["QS4"]);
        assert!(carried_by("carries_qs4_not").is_empty());
        assert!(carried_by("ch_a1_x").is_empty());
    }

    #[test]
    fn tests_are_found_by_their_attribute() {
        let source = "fn helper() {}\n#[test]\nfn one() {}\n#[tokio::test(flavor = \"multi_thread\")]\n// why\n#[allow(x)]\n\
                      async fn two(x: u8) {}\nfn three() {}\n";
        assert_eq!(test_names(source), ["one", "two"]);
    }

    #[test]
    fn the_list_is_read_strictly() {
        let claims = |text| claims(text).ok();
        let read = claims("# c\n\nCH1 Title here | later\n").unwrap_or_default();
        let expected = Claim { id: "CH1".to_owned(), title: "Title here".to_owned(), open: Some("later".to_owned()) };
        assert_eq!(read, [expected]);
        for wrong in ["CH1", "XX1 t", "CH1 t\nCH1 u", "ch1 t"] {
            assert_eq!(claims(wrong), None, "{wrong}");
        }
    }
}
