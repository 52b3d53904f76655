//! The admin API's unix socket: its file is there while the host answers, and for this user only. The lock of the data
//! directory says that one in there is nobody else's; one at another place is tried before it is replaced.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixSocket};

/// The socket's name in the data directory.
pub(crate) const FILE_NAME: &str = "admin.sock";
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// What fits into a socket's address everywhere, with its end.
const ADDRESS_BYTES_MAX: usize = 103;

/// The file of a socket that listens; removed when it is dropped, unless somebody has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Listens, in place of a socket that nobody listens on any more.
pub(super) fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket; remove it",
            ));
        }
        Ok(_) if reach(path, |path| UnixStream::connect(path)).is_ok() => {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens on it",
            ));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixSocket::new_stream()?;
    reach(path, |path| socket.bind(path))?;
    // Before anybody can connect: until `listen` nobody is let in.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let made = std::fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (made.dev(), made.ino()),
    };
    Ok((socket.listen(BACKLOG)?, file))
}

/// Uses a path that may be too long for a socket's address: then by a descriptor of its folder, where the system has that.
pub(crate) fn reach<T>(path: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let too_long = |path: &Path| path.as_os_str().len() > ADDRESS_BYTES_MAX;
    if !too_long(path) {
        return with(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return with(path);
    };
    let folder = rustix::fs::open(
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    let path = short.join(name);
    if too_long(&path) || !short.exists() {
        let message = format!(
            "its path has more than the {ADDRESS_BYTES_MAX} bytes that a socket's address holds; put it elsewhere with \
             `admin = {{ socket = \"PATH\" }}` in [host]"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    with(&path)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
