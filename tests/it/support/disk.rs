//! A small disk of its own for a program's data, which a test can fill and free.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file in memory that lies on a folder; gone when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one over a folder. None if whoever runs the tests may not mount.
    pub fn mount(folder: &Path, mebibytes: u32) -> Option<Disk> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=700"), "tmpfs"]).arg(folder);
        let output = mount.output().expect("there is a mount program");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let forbidden = ["superuser", "permission denied", "not permitted"];
            assert!(forbidden.iter().any(|words| said.contains(words)), "mount: {said}");
            return None;
        }
        Some(Disk(folder.to_owned()))
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("the disk takes a file");
        for chunk in [&[0; 64 * 1024][..], &[0; 512][..]] {
            let full = loop {
                if let Err(error) = ballast.write_all(chunk) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a program that a failed test leaves behind may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
