//! Everything that is promised to be on disk rests on one call, `syncfs`: it must reach the disk, and must tell when it has
//! not. Where that is not so a host does not start, rather than lose data some day.

use std::fs::File;
use std::path::Path;

/// What comes of a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Fit,
    /// It will do, but for this.
    Poor(&'static str),
    /// It will not do, for this reason.
    Unfit(String),
}

/// The first Linux whose `syncfs` tells of pages that could not be written back.
const KERNEL_MIN: (u32, u32) = (5, 8);

/// What `statfs` calls file systems, from linux/magic.h.
mod magic {
    pub(super) const FUSE: u32 = 0x6573_5546;
    pub(super) const OVERLAY: u32 = 0x794c_7630;
    pub(super) const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    /// NFS, 9p, SMB, SMB2, AFS, Coda: what lies under them is another machine's.
    pub(super) const REMOTE: [u32; 6] = [0x6969, 0x0102_1997, 0x517b, 0xfe53_4d42, 0x5346_414f, 0x7375_7245];
    pub(super) const CIFS: u32 = 0xff53_4d42;
}

/// A line of `/proc/self/mountinfo`, as far as it matters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mount {
    kind: String,
    options: String,
}

/// Looks at the system, and at the file system of a directory.
pub(super) fn judge(root: &Path, dir: &File) -> std::io::Result<Verdict> {
    use std::os::unix::fs::MetadataExt;
    let device = dir.metadata()?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // Without /proc nothing is known, and the worst is assumed where it would matter.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kind = rustix::fs::fstatfs(dir)?.f_type;
    // It is a number of 32 bits, in a field that has some sign and length on each machine.
    let kind = u32::try_from(kind & 0xffff_ffff).unwrap_or_default();
    Ok(verdict(release.trim(), kind, mount_of(&mounts, &device).as_ref(), root))
}

fn mount_of(mounts: &str, device: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        if place.split(' ').nth(2)? != device {
            return None;
        }
        let mut what = what.split(' ');
        Some(Mount {
            kind: what.next()?.to_owned(),
            options: what.nth(1).unwrap_or_default().to_owned(),
        })
    })
}

fn verdict(release: &str, kind: u32, mount: Option<&Mount>, root: &Path) -> Verdict {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if kernel < KERNEL_MIN {
        let (major, minor) = KERNEL_MIN;
        return Verdict::Unfit(format!(
            "Linux {release} does not tell when data could not be written to the disk; use Linux {major}.{minor} or newer"
        ));
    }
    let root = root.display();
    let mounted = mount.map_or("", |mount| mount.kind.as_str());
    let has_option = |name: &str| mount.is_some_and(|mount| mount.options.split(',').any(|option| option == name));
    match kind {
        // It hands a sync on to its server; others of its kind do not.
        magic::FUSE if mounted == "virtiofs" => Verdict::Fit,
        magic::FUSE => Verdict::Unfit(format!(
            "{root} lies on a FUSE file system ({mounted}), which does not write to a disk what it is told to; use a local \
             file system, as ext4, XFS or btrfs"
        )),
        magic::CIFS => remote(&root),
        kind if magic::REMOTE.contains(&kind) => remote(&root),
        magic::OVERLAY if has_option("volatile") => Verdict::Unfit(format!(
            "{root} lies on an overlay that is mounted `volatile`, which writes nothing to a disk; use a volume"
        )),
        magic::OVERLAY => Verdict::Poor(
            "the data directory lies on an overlay, as a container's own files do: it may not tell when its disk fails, and \
             goes with the container; use a volume",
        ),
        kind if magic::IN_MEMORY.contains(&kind) => {
            Verdict::Poor("the data directory lies in memory: nothing of it survives the machine's next start")
        }
        _ => Verdict::Fit,
    }
}

fn remote(root: &std::path::Display<'_>) -> Verdict {
    Verdict::Unfit(format!(
        "{root} lies on a file system of another machine, on which a lock keeps nobody else away and a sync may not reach a \
         disk; use a local file system, as ext4, XFS or btrfs"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXT4: u32 = 0xef53;

    fn of(release: &str, kind: u32, mount: Option<(&str, &str)>) -> &'static str {
        let mount = mount.map(|(kind, options)| Mount {
            kind: kind.to_owned(),
            options: options.to_owned(),
        });
        match verdict(release, kind, mount.as_ref(), Path::new("/data")) {
            Verdict::Fit => "fit",
            Verdict::Poor(_) => "poor",
            Verdict::Unfit(why) => {
                assert!(why.contains("use "), "{why}");
                "unfit"
            }
        }
    }

    #[test]
    fn kernels_that_hide_errors_are_refused() {
        for (release, expected) in [
            ("6.18.44-fc-v595", "fit"),
            ("5.8.0", "fit"),
            ("5.10", "fit"),
            ("5.8-rc1", "fit"),
            ("5.7.19-generic", "unfit"),
            ("4.18.0-553.el8", "unfit"),
            ("none", "unfit"),
        ] {
            assert_eq!(of(release, EXT4, None), expected, "{release}");
        }
    }

    #[test]
    fn file_systems_on_which_a_sync_is_none_are_refused() {
        for (kind, mount, expected) in [
            (EXT4, Some(("ext4", "rw")), "fit"),
            (0x5846_5342, None, "fit"),
            (magic::FUSE, Some(("virtiofs", "rw")), "fit"),
            (magic::FUSE, Some(("fuse.sshfs", "rw,user_id=0")), "unfit"),
            (magic::FUSE, Some(("fuseblk", "rw")), "unfit"),
            (magic::FUSE, None, "unfit"),
            (0x6969, Some(("nfs4", "rw")), "unfit"),
            (0x0102_1997, None, "unfit"),
            (magic::CIFS, None, "unfit"),
            (magic::OVERLAY, Some(("overlay", "rw,lowerdir=a,upperdir=b")), "poor"),
            (magic::OVERLAY, Some(("overlay", "rw,upperdir=b,volatile")), "unfit"),
            (magic::IN_MEMORY[0], Some(("tmpfs", "rw,size=1k")), "poor"),
        ] {
            assert_eq!(of("6.1.0", kind, mount), expected, "{kind:#x} {mount:?}");
        }
    }

    #[test]
    fn mounts_are_found_by_their_device() {
        let mounts = "22 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
                      36 22 0:31 / /mnt\\040x rw - overlay none rw,upperdir=/u,volatile\n";
        let found = mount_of(mounts, "0:31").unwrap();
        assert_eq!(
            (&found.kind[..], &found.options[..]),
            ("overlay", "rw,upperdir=/u,volatile")
        );
        assert_eq!(mount_of(mounts, "254:0").unwrap().kind, "ext4");
        assert_eq!(mount_of(mounts, "0:32"), None);
        let dir = tempfile::tempdir().unwrap();
        judge(dir.path(), &File::open(dir.path()).unwrap()).unwrap();
    }
}
