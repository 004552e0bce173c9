//! The Java runtime, the jars of Apache Kafka, and an archive of parsed classes that halves the
//! time of its start.
//!
//! The jars come from `KAFKA_HOME`, or Maven downloads them once from the pinned `kafka/pom.xml`.
//! Jars and archive are kept in the user's data folder, for all folders of `--data-dir` together.

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{Obstacle, Progress, folder::remove_if_present};

const POM: &str = include_str!("../kafka/pom.xml");

/// The oldest Java that runs Apache Kafka 4.
const MIN_JAVA_VERSION: u32 = 17;

/// A Java runtime with Kafka's jars.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    pub(crate) program: PathBuf,
    /// All jars, as Java's `CLASSPATH`.
    pub(crate) class_path: OsString,
    /// The path of the class archive of these jars and this Java, which may not exist yet.
    pub(crate) archive: PathBuf,
}

/// A lock: one process at a time downloads the jars or creates the archive, and the others wait.
/// The kernel releases it when the process ends.
pub(crate) struct Preparation {
    _lock: fs::File,
}

impl Java {
    /// Finds Java and the jars, and downloads the jars when this machine has none.
    pub(crate) async fn find(progress: Progress<'_>) -> Result<Self> {
        let (program, version) = find_java().await?;
        let libs = match env::var_os("KAFKA_HOME") {
            Some(home) => PathBuf::from(home).join("libs"),
            None => downloaded_jars(progress).await?,
        };
        let mut jars: Vec<PathBuf> = fs::read_dir(&libs)
            .with_context(|| {
                Obstacle(format!(
                    "no jars of Apache Kafka in {}: correct KAFKA_HOME",
                    libs.display()
                ))
            })?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
            .collect();
        // The archive is valid for one order of the jars only.
        jars.sort();
        let class_path = env::join_paths(jars).context("joining the paths of Kafka's jars")?;
        let name = format!("kafka-{:016x}.jsa", hash(&(&version, &class_path)));
        Ok(Self { program, class_path, archive: user_data()?.join(name) })
    }
}

impl Preparation {
    pub(crate) async fn alone() -> Result<Self> {
        let folder = user_data()?;
        let lock = tokio::task::spawn_blocking(move || -> std::io::Result<fs::File> {
            fs::create_dir_all(&folder)?;
            let lock = fs::File::create(folder.join("lock"))?;
            lock.lock()?;
            Ok(lock)
        });
        let lock = lock.await?.context("locking the user's data folder of waybill")?;
        Ok(Self { _lock: lock })
    }
}

/// Returns the first Java that is new enough. `scripts/setup` searches the same places.
async fn find_java() -> Result<(PathBuf, String)> {
    let candidates = java_programs();
    let mut too_old = None;
    for program in &candidates {
        let output = Command::new(program)
            .arg("-version")
            // Java would print these first, and may not start with them.
            .env_remove("JAVA_TOOL_OPTIONS")
            .env_remove("JDK_JAVA_OPTIONS")
            .env_remove("_JAVA_OPTIONS")
            .stdin(Stdio::null())
            .output()
            .await;
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stderr).into_owned();
        if major_version(&version).is_some_and(|major| major >= MIN_JAVA_VERSION) {
            return Ok((program.clone(), version));
        }
        too_old = too_old.or(Some((program, version)));
    }
    if let Some((program, version)) = too_old {
        bail!(Obstacle(format!(
            "{} is too old, and Apache Kafka needs Java {MIN_JAVA_VERSION} or newer: run scripts/setup, \
             or set JAVA_HOME to a newer one; its output is:\n{}",
            program.display(),
            version.trim_end()
        )));
    }
    bail!(Obstacle(format!(
        "Java is missing ({} does not run), and Apache Kafka needs Java {MIN_JAVA_VERSION} or newer: run \
         scripts/setup, or set KAFKA_BROKERS to the address of a running Kafka",
        candidates[0].display()
    )))
}

/// Returns the places where Java may be: `JAVA_HOME`, `PATH`, then the folders of the packages of
/// Linux and Homebrew, which are not always in `PATH`.
fn java_programs() -> Vec<PathBuf> {
    let packages = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let mut packages: Vec<PathBuf> = packages
        .map(|package| package.path().join("bin/java"))
        .filter(|java| java.exists())
        .collect();
    packages.sort();
    let home = env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    home.into_iter()
        .chain([PathBuf::from("java")])
        .chain(packages)
        .chain(
            ["/opt/homebrew/opt/openjdk/bin/java", "/usr/local/opt/openjdk/bin/java"]
                .map(Into::into),
        )
        .collect()
}

/// Reads `openjdk version "17.0.15" 2025-04-15`, and up to Java 8 `java version "1.8.0_402"`.
fn major_version(output: &str) -> Option<u32> {
    let version = |line: &str| {
        let (name, version) = line.split_once(" version \"")?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase());
        let number = version.split(['.', '-', '+', '"']).next()?;
        number.parse().ok().filter(|_| is_name)
    };
    output.lines().find_map(version)
}

async fn downloaded_jars(progress: Progress<'_>) -> Result<PathBuf> {
    let data = user_data()?;
    let jars = data.join(format!("kafka-{:016x}", hash(&POM)));
    if jars.exists() {
        return Ok(jars);
    }
    let _alone = Preparation::alone().await?;
    // Another process may have downloaded them while this one waited for the lock.
    if jars.exists() {
        return Ok(jars);
    }
    progress("downloading Apache Kafka (43 MB, once)");
    // The jars get their final name in one step, so that an interrupted download is never used.
    let unfinished = data.join("kafka.new");
    remove_if_present(&unfinished)?;
    fs::create_dir(&unfinished)
        .and_then(|()| fs::write(unfinished.join("pom.xml"), POM))
        .with_context(|| format!("creating {}", unfinished.display()))?;
    run_maven(&unfinished).await?;
    fs::rename(&unfinished, &jars).with_context(|| format!("creating {}", jars.display()))?;
    Ok(jars)
}

/// Copies the jars of the `pom.xml` in `folder` into `folder`.
async fn run_maven(folder: &Path) -> Result<()> {
    let maven = Command::new("mvn")
        .args(["-q", "-B", "-Dstyle.color=never", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| {
            Obstacle(
                "Maven is missing, and it downloads Apache Kafka: run scripts/setup, or set \
                 KAFKA_HOME to the folder of a Kafka on this machine"
                    .to_owned(),
            )
        })?;
    if !maven.status.success() {
        bail!(Obstacle(format!(
            "Maven could not download Apache Kafka: check the network and start again, or set \
             KAFKA_HOME to the folder of a Kafka on this machine; Maven's errors are:\n{}",
            first_errors(&maven.stdout)
        )));
    }
    Ok(())
}

/// Returns the first error lines of Maven, which name the cause; the others repeat it.
fn first_errors(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    output.lines().filter(|line| line.contains("ERROR")).take(4).collect::<Vec<_>>().join("\n")
}

/// Returns the folder for Waybill's data of this user, by the XDG convention.
fn user_data() -> Result<PathBuf> {
    let base = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| env::home_dir().map(|home| home.join(".local/share")));
    let base = base.filter(|path| path != Path::new(".local/share"));
    Ok(base
        .context("neither XDG_DATA_HOME nor HOME is set: set one, for the folder of Apache Kafka")?
        .join("waybill"))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java_are_read_old_and_new() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(major_version("openjdk version \"25\" 2025-09-16\n"), Some(25));
        assert_eq!(major_version("openjdk version \"26-ea\" 2026-03-17\n"), Some(26));
        assert_eq!(major_version("java version \"1.8.0_402\"\n"), Some(1));
        assert_eq!(major_version("no Java here"), None);
    }

    #[test]
    fn lines_before_the_version_of_java_are_not_read() {
        let quoted = "Picked up JAVA_TOOL_OPTIONS: -Dname=\"two words\" -Da=' version \"8\"'\n\
                      openjdk version \"21.0.3\" 2024-04-16\n";
        assert_eq!(major_version(quoted), Some(21));
    }
}
