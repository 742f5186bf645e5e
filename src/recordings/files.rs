//! Recordings as files: `{data}/recordings/{company}/{yyyy-mm}/{id}.mp3`. Names are made of our own ids only,
//! never of anything that a stranger wrote. A file is complete when it has its name: it is written under
//! another one, made durable, and renamed.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::format::SNIFF_BYTES;
use super::{Format, Recording};

/// The ending of a file that is being written.
const PARTIAL: &str = "part";

/// The folder of recordings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A file that has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Below the folder of recordings, with `/`.
    pub path: String,
    pub format: Format,
    pub bytes: u64,
}

/// Why a file can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("what came is not audio")]
    NotAudio,
    #[error("writing a recording: {0}")]
    Io(#[from] io::Error),
}

impl Folder {
    /// `data` is the installation's data folder.
    pub fn below(data: &Path) -> Folder {
        Folder(data.join("recordings"))
    }

    /// Where a stored recording lies.
    pub fn path_of(&self, recording: &Recording) -> PathBuf {
        self.0.join(&recording.path)
    }

    /// Begins to write a recording's audio. `attempt` is a new unique id: two attempts at once, by processes
    /// of which one doesn't know yet that it no longer leads, don't write into each other's file.
    ///
    /// # Errors
    /// The file system's.
    pub async fn begin(&self, recording: &Recording, attempt: &str) -> io::Result<Partial> {
        let month = recording.created_at.timestamp().strftime("%Y-%m").to_string();
        let below = format!("{}/{month}", recording.company_id);
        let folder = self.0.join(&below);
        create_durably(&self.0, &folder).await?;
        let stem = recording.id.to_string();
        let partial = folder.join(format!("{stem}.{attempt}.{PARTIAL}"));
        let file = File::create(&partial).await?;
        Ok(Partial {
            folder,
            below,
            stem,
            partial,
            file,
            bytes: 0,
            beginning: Vec::with_capacity(SNIFF_BYTES),
        })
    }

    /// Deletes a recording's file; one that isn't there counts as deleted.
    ///
    /// # Errors
    /// The file system's.
    pub async fn delete(&self, recording: &Recording) -> io::Result<()> {
        if recording.path.is_empty() {
            Ok(())
        } else {
            absent_is_fine(fs::remove_file(self.path_of(recording)).await)
        }
    }

    /// Removes what a crash left half-written. Called at start, before anything is fetched. Gives their number.
    ///
    /// # Errors
    /// The file system's.
    pub async fn remove_partial(&self) -> io::Result<usize> {
        let mut removed = 0;
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries = match fs::read_dir(&folder).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            while let Some(entry) = entries.next_entry().await? {
                let path = entry.path();
                if entry.file_type().await?.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == PARTIAL) {
                    fs::remove_file(&path).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// A file on its way. Dropped without [`Partial::keep`], it stays until [`Folder::remove_partial`].
#[derive(Debug)]
pub struct Partial {
    folder: PathBuf,
    below: String,
    stem: String,
    partial: PathBuf,
    file: File,
    bytes: u64,
    beginning: Vec<u8>,
}

impl Partial {
    /// # Errors
    /// [`Error::NotAudio`] as soon as that can be told.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        if self.beginning.len() < SNIFF_BYTES {
            let missing = SNIFF_BYTES - self.beginning.len();
            self.beginning.extend_from_slice(&chunk[..missing.min(chunk.len())]);
            if self.beginning.len() == SNIFF_BYTES && Format::sniff(&self.beginning).is_none() {
                return Err(Error::NotAudio);
            }
        }
        self.file.write_all(chunk).await?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::NotAudio`]; the file system's.
    pub async fn keep(mut self) -> Result<Kept, Error> {
        let format = Format::sniff(&self.beginning).ok_or(Error::NotAudio)?;
        self.file.flush().await?;
        self.file.sync_all().await?;
        let name = format!("{}.{}", self.stem, format.extension());
        fs::rename(&self.partial, self.folder.join(&name)).await?;
        sync_folder(&self.folder).await?;
        Ok(Kept { path: format!("{}/{name}", self.below), format, bytes: self.bytes })
    }

    /// Removes it.
    pub async fn abandon(self) {
        drop(self.file);
        if let Err(error) = absent_is_fine(fs::remove_file(&self.partial).await) {
            tracing::warn!(recording.id = self.stem, %error, "a half-written recording can't be removed");
        }
    }
}

/// Makes a folder and those above it, each of them durable, down from `root`'s parent.
async fn create_durably(root: &Path, folder: &Path) -> io::Result<()> {
    if fs::try_exists(folder).await? {
        return Ok(());
    }
    fs::create_dir_all(folder).await?;
    let mut at = folder;
    while let Some(above) = at.parent() {
        sync_folder(above).await?;
        if at == root {
            break;
        }
        at = above;
    }
    Ok(())
}

/// A new or renamed file is there after a power loss only once its folder was synced (fsync(2)).
async fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).await?.sync_all().await
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
