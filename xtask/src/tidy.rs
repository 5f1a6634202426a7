//! What the compiler does not check about the house: which crate may use which, where `unsafe` may stand, that every
//! file is somebody's module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The layers of the house, lowest first. A crate may use crates of its own layer or below, never above
/// (ARCHITECTURE.md, "Arrows").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Layer {
    /// Bytes to values and back, and values alone. Pure.
    Bytes,
    /// State machines. Pure.
    Machines,
    /// Sockets, clocks, files, threads.
    Drivers,
    /// Everything together.
    Binary,
}

/// Folder of each crate and its layer. A crate that is missing here is a finding.
const LAYERS: &[(&str, Layer)] = &[
    ("stack/clock", Layer::Bytes),
    ("stack/sip", Layer::Bytes),
    ("stack/sdp", Layer::Bytes),
    ("stack/rtp", Layer::Bytes),
    ("gateway/isup", Layer::Bytes),
    ("policy/cops", Layer::Bytes),
    ("policy/pib", Layer::Bytes),
    ("clearinghouse/osp", Layer::Bytes),
    ("clearinghouse/token", Layer::Bytes),
    ("clearinghouse/enrollment", Layer::Bytes),
    ("pcaps/ladder", Layer::Machines),
    ("stack/simulation", Layer::Machines),
    ("stack/transaction", Layer::Machines),
    ("stack/dialog", Layer::Machines),
    ("proxy/core", Layer::Machines),
    ("gateway/trunk", Layer::Machines),
    ("gateway/core", Layer::Machines),
    ("policy/pdp", Layer::Machines),
    ("policy/pep", Layer::Machines),
    ("policy/diffserv", Layer::Machines),
    ("clearinghouse/ledger", Layer::Machines),
    ("clearinghouse/rating", Layer::Machines),
    ("clearinghouse/routing", Layer::Machines),
    ("clearinghouse/cdr", Layer::Machines),
    ("clearinghouse/charging", Layer::Machines),
    ("stack/net", Layer::Drivers),
    ("stack/packet", Layer::Drivers),
    ("phone", Layer::Drivers),
    ("proxy/server", Layer::Drivers),
    ("gateway/server", Layer::Drivers),
    ("policy/router", Layer::Drivers),
    ("policy/server", Layer::Drivers),
    ("clearinghouse/store", Layer::Drivers),
    ("clearinghouse/server", Layer::Drivers),
    ("clearinghouse/client", Layer::Drivers),
    ("console", Layer::Drivers),
    ("xtask", Layer::Binary),
    (".", Layer::Binary),
];

/// Arrows that no layer forbids but the house does: the stack knows nothing of calls as business.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("stack/", &["proxy/", "gateway/", "policy/", "clearinghouse/", "console", "phone"]),
    ("policy/", &["proxy/", "gateway/", "console", "phone"]),
    ("clearinghouse/", &["proxy/", "gateway/", "policy/", "console", "phone"]),
];

/// What a pure crate (Bytes, Machines) must not reach.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "socket2",
    "hyper",
    "hyper-util",
    "hyper-rustls",
    "axum",
    "rusqlite",
    "nix",
    "libc",
    "mio",
    "pnet",
    "rustls",
    "tokio-rustls",
    "webrtc-util",
    "rtp",
    "getrandom",
];

#[derive(Deserialize)]
struct Manifest {
    package: Option<Package>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    #[serde(default)]
    lints: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

struct Crate {
    folder: String,
    layer: Option<Layer>,
    dependencies: BTreeSet<String>,
    inherits_lints: bool,
}

fn root() -> Result<PathBuf> {
    let output = Command::new("git").args(["rev-parse", "--show-toplevel"]).output().context("cannot run git")?;
    if !output.status.success() {
        bail!("not inside a git checkout");
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot run git")?;
    let files: BTreeSet<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    Ok(files.into_iter().filter(|file| root.join(file).is_file()).collect())
}

fn crates(root: &Path, files: &[String]) -> Result<BTreeMap<String, Crate>> {
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|file| *file == "Cargo.toml" || file.ends_with("/Cargo.toml")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let manifest: Manifest = toml::from_str(&text).with_context(|| format!("cannot parse {file}"))?;
        let Some(package) = manifest.package else { continue };
        let folder = match file.rsplit_once('/') {
            Some((folder, _)) => folder.to_owned(),
            None => ".".to_owned(),
        };
        let layer = LAYERS.iter().find(|(name, _)| *name == folder).map(|(_, layer)| *layer);
        found.insert(
            package.name,
            Crate {
                folder,
                layer,
                dependencies: manifest.dependencies.into_keys().collect(),
                inherits_lints: manifest.lints.contains_key("workspace"),
            },
        );
    }
    Ok(found)
}

/// Runs every check; returns the number of findings.
pub fn run() -> Result<usize> {
    let root = root()?;
    let files = tracked(&root)?;
    let crates = crates(&root, &files)?;
    let mut findings = Vec::new();
    arrows(&crates, &mut findings);
    lint_bans(&root, &crates, &files, &mut findings);
    sources(&root, &files, &mut findings)?;
    dead_files(&root, &files, &mut findings)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} crates, {} files, nothing to say", crates.len(), files.len());
    }
    Ok(findings.len())
}

/// Prints each crate with its layer and its arrows.
pub fn print_crates() -> Result<usize> {
    let root = root()?;
    let files = tracked(&root)?;
    let crates = crates(&root, &files)?;
    for (name, this) in &crates {
        let layer = this.layer.map_or("?".to_owned(), |layer| format!("{layer:?}").to_lowercase());
        let ours: Vec<&str> = this
            .dependencies
            .iter()
            .filter(|dependency| crates.contains_key(*dependency))
            .map(|dependency| dependency.trim_start_matches("strowger-"))
            .collect();
        println!("{layer:<9} {:<26} {name:<32} -> {}", this.folder, ours.join(" "));
    }
    Ok(0)
}

fn arrows(crates: &BTreeMap<String, Crate>, findings: &mut Vec<String>) {
    for (name, this) in crates {
        let Some(layer) = this.layer else {
            findings.push(format!("{}: crate {name} has no layer in xtask/src/tidy.rs", this.folder));
            continue;
        };
        for dependency in &this.dependencies {
            if let Some(other) = crates.get(dependency) {
                if other.layer.is_some_and(|other| other > layer) {
                    findings
                        .push(format!("{}: arrow the other way: {name} ({layer:?}) uses {dependency}", this.folder));
                }
                for (from, banned) in FORBIDDEN {
                    if this.folder.starts_with(from) && banned.iter().any(|banned| other.folder.starts_with(banned)) {
                        findings.push(format!("{}: {from} must not know {}", this.folder, other.folder));
                    }
                }
            } else if layer <= Layer::Machines && IMPURE.contains(&dependency.as_str()) {
                findings.push(format!("{}: pure crate {name} uses {dependency}", this.folder));
            }
        }
    }
}

/// Pure crates live under the root's clippy.toml; only drivers may lift its bans. Every crate takes the workspace's lints.
fn lint_bans(root: &Path, crates: &BTreeMap<String, Crate>, files: &[String], findings: &mut Vec<String>) {
    for (name, this) in crates {
        if !this.inherits_lints {
            findings.push(format!("{}: {name} does not take the workspace's lints", this.folder));
        }
        let own = format!("{}/clippy.toml", this.folder);
        let lifted = root.join(&own).is_file() && files.contains(&own);
        match this.layer {
            Some(Layer::Bytes | Layer::Machines) if lifted => {
                findings.push(format!("{own}: a pure crate may not lift the root's bans"));
            }
            _ => {}
        }
    }
}

fn is_test(file: &str) -> bool {
    file.starts_with("tests/") || file.contains("/tests/") || file.contains("/benches/") || file.ends_with("_tests.rs")
}

/// `unsafe` outside stack/packet, and paths of somebody's machine.
fn sources(root: &Path, files: &[String], findings: &mut Vec<String>) -> Result<()> {
    for file in files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else { continue };
        let rust = file.ends_with(".rs");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_unsafe = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            if rust && is_unsafe && !file.starts_with("stack/packet/") && !file.starts_with("xtask/") {
                findings.push(format!("{file}:{}: unsafe outside stack/packet", number + 1));
            }
            if !file.ends_with(".lock") && !file.starts_with("xtask/") {
                for path in ["/work/", "/farm/", "/home/"] {
                    if line.contains(path) && !line.contains("/home/strowger") && !line.contains("/home/user") {
                        findings.push(format!("{file}:{}: path of a machine ({path}…)", number + 1));
                    }
                }
            }
        }
        if rust && !is_test(file) && text.lines().count() > 900 {
            findings.push(format!("{file}: {} lines; past 600 a file is asking to be two", text.lines().count()));
        }
    }
    Ok(())
}

/// Folders whose files are crate roots.
const ENTRY_FOLDERS: [&str; 4] = ["src/bin", "tests", "benches", "examples"];

/// A Rust file that no `mod` names is never compiled.
fn dead_files(root: &Path, files: &[String], findings: &mut Vec<String>) -> Result<()> {
    let rust: BTreeSet<&str> = files.iter().map(String::as_str).filter(|file| file.ends_with(".rs")).collect();
    for file in &rust {
        let path = Path::new(file);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let in_entry_folder = ENTRY_FOLDERS.iter().any(|entry| folder.ends_with(entry));
        if matches!(stem, "main" | "build") || in_entry_folder || folder.ends_with("src") && stem == "lib" {
            continue;
        }
        // module `stem` is declared by lib.rs, main.rs or mod.rs of its folder, or by the file named after the folder
        let (module, home) = if stem == "mod" {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            (name, folder.parent().unwrap_or(Path::new("")))
        } else {
            (stem, folder)
        };
        let mut parents: Vec<PathBuf> = ["lib.rs", "main.rs", "mod.rs"].iter().map(|name| home.join(name)).collect();
        parents.push(home.with_extension("rs"));
        // every file of tests/ and the like is a crate root of its own and may declare it
        if ENTRY_FOLDERS.iter().any(|entry| home.ends_with(entry)) {
            let siblings = rust.iter().map(Path::new).filter(|other| other.parent() == Some(home));
            parents.extend(siblings.map(Path::to_path_buf));
        }
        let declared = parents.iter().any(|parent| {
            std::fs::read_to_string(root.join(parent)).is_ok_and(|text| {
                text.lines().any(|line| {
                    let line = line.trim();
                    line.ends_with(&format!("mod {module};")) || line.ends_with(&format!("mod {module} {{"))
                }) || text.contains(&format!("{stem}.rs\""))
            })
        });
        if !declared {
            findings.push(format!("{file}: no module declares it"));
        }
    }
    Ok(())
}
