//! What is kept between runs, for one server, company and target: the signing secret and how far events were
//! forwarded. One small file, replaced as a whole, so that a crash leaves the old one or the new one.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::BadConfig;
use crate::kernel::seed::Seed;
use crate::webhooks::Secret;

/// Bytes of the digest that name a file: enough for one developer's servers and targets.
const NAME_BYTES: usize = 8;

/// Which events go where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub server: String,
    pub company: i64,
    pub forward_to: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    route: Route,
    /// When the company was made. Another one under the same id is another log.
    company_created_at: String,
    secret: String,
    /// The id of the last event that was forwarded or passed over; None before the stream has said where it
    /// begins.
    position: Option<i64>,
}

/// The file and what is in it.
pub(super) struct State {
    path: PathBuf,
    kept: Kept,
    secret: Secret,
}

impl State {
    /// Reads the file, or makes a secret and the file.
    ///
    /// # Errors
    /// It is no file of ours, or another route's; or the disk's error.
    pub(super) fn open(path: PathBuf, route: &Route, created_at: &str, seed: &Seed) -> anyhow::Result<State> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(State::parse(path, &text, route)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secret = Secret::generate(seed);
                let kept = Kept {
                    route: route.clone(),
                    company_created_at: created_at.to_owned(),
                    secret: secret.to_text(),
                    position: None,
                };
                let state = State { path, kept, secret };
                state.save()?;
                Ok(state)
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn parse(path: PathBuf, text: &str, route: &Route) -> Result<State, BadConfig> {
        let kept: Option<Kept> = serde_json::from_str(text).ok();
        let read = kept.and_then(|kept| Some((Secret::parse(&kept.secret)?, kept)));
        let shown = path.display();
        let Some((secret, kept)) = read else {
            return Err(BadConfig(format!("{shown} is not a file of calltracker listen")));
        };
        if kept.route != *route {
            let Route { server, company, forward_to } = &kept.route;
            let whose = format!("company {company} of {server} and {forward_to}");
            return Err(BadConfig(format!("{shown} is for {whose}: give another --state")));
        }
        Ok(State { path, kept, secret })
    }

    /// Whether it was kept for the company that was made then.
    pub(super) fn is_of(&self, created_at: &str) -> bool {
        self.kept.company_created_at == created_at
    }

    /// Forgets the position in a log that is gone.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn begin_anew(&mut self, created_at: &str) -> anyhow::Result<()> {
        created_at.clone_into(&mut self.kept.company_created_at);
        self.kept.position = None;
        self.save()
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn position(&self) -> Option<i64> {
        self.kept.position
    }

    /// Remembers a position until the next [`State::save`].
    pub(super) fn pass(&mut self, position: i64) {
        self.kept.position = Some(position);
    }

    /// Writes the file; when this answers, it is on disk. It holds a secret, so it is its owner's alone.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        self.write().with_context(|| format!("writing {}", self.path.display()))
    }

    fn write(&self) -> anyhow::Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(&mut file, &self.kept)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    }
}

/// The file of a route if the user names none: where the system keeps programs' state (XDG Base Directory
/// Specification 0.8). None if the environment doesn't say where that is.
pub(super) fn default_path(
    route: &Route,
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let Route { server, company, forward_to } = route;
    let hash = digest(&SHA256, format!("{server}\n{company}\n{forward_to}").as_bytes());
    let name: String = hash.as_ref()[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(folder.join("calltracker").join(format!("listen-{name}.json")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const MADE: &str = "2026-03-09T09:00:00.000000Z";

    fn route(company: i64) -> Route {
        Route { server: "http://127.0.0.1:8080/".to_owned(), company, forward_to: "http://[::1]/".to_owned() }
    }

    fn open(path: &Path, route: Route, created_at: &str) -> anyhow::Result<State> {
        State::open(path.to_owned(), &route, created_at, &Seed::system())
    }

    #[test]
    fn what_was_saved_is_there_again_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/state.json");
        let mut first = open(&path, route(1), MADE).unwrap();
        assert_eq!(first.position(), None);
        first.pass(41);
        first.save().unwrap();
        let again = open(&path, route(1), MADE).unwrap();
        assert_eq!((again.position(), again.secret().to_text()), (Some(41), first.secret().to_text()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_company_made_anew_begins_anew_with_the_same_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut first = open(&path, route(1), MADE).unwrap();
        first.pass(41);
        first.save().unwrap();
        let mut again = open(&path, route(1), "2026-03-10T09:00:00.000000Z").unwrap();
        assert!(!again.is_of("2026-03-10T09:00:00.000000Z"));
        again.begin_anew("2026-03-10T09:00:00.000000Z").unwrap();
        let again = open(&path, route(1), MADE).unwrap();
        assert!(!again.is_of(MADE));
        assert_eq!((again.position(), again.secret().to_text()), (None, first.secret().to_text()));
    }

    #[test]
    fn files_of_others_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        open(&path, route(1), MADE).unwrap();
        let other = open(&path, route(2), MADE).err().expect("it is company 1's");
        assert!(other.to_string().contains("company 1"), "{other}");
        for text in ["", "{}", "[webhooks]\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(open(&path, route(1), MADE).err().unwrap().is::<BadConfig>(), "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn each_route_has_a_file_where_the_system_keeps_state() {
        let home = |name: &str| (name == "HOME").then(|| "/home/ana".into());
        let path = default_path(&route(1), home).unwrap();
        assert!(path.starts_with("/home/ana/.local/state/calltracker"), "{}", path.display());
        assert_ne!(default_path(&route(2), home), Some(path));
        let xdg = |name: &str| Some(if name == "HOME" { "/home/ana".into() } else { "/state".into() });
        assert!(default_path(&route(1), xdg).unwrap().starts_with("/state/calltracker"));
        assert_eq!(default_path(&route(1), |_| Some("relative".into())), None);
        assert_eq!(default_path(&route(1), |_| None), None);
    }
}
