//! The pages of the program itself.

use std::ops::Range;

/// Takes the program's instructions and constants out of this process's memory map. They stay in the kernel's cache of
/// files; what is used again is mapped again at its first use.
pub(crate) fn unmap() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for pages in clean_parts(&maps, unmap as fn() as usize) {
        #[expect(unsafe_code, reason = "the kernel's advice about memory has no safe interface")]
        // SAFETY: these are private mappings of the program's file that nobody can write to, and that nobody could write to
        // before: the kernel reads the same bytes from the file again.
        unsafe {
            libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The mappings of the file that holds `address` whose bytes are those of the file: the instructions, and the constants
/// before them. Constants with addresses in them were filled in by the loader and are not among these: their part of the
/// file does not begin with its first byte.
fn clean_parts(maps: &str, address: usize) -> Vec<Range<usize>> {
    let mappings: Vec<Mapping> = maps.lines().filter_map(Mapping::read).collect();
    let Some(own) = mappings.iter().find(|mapping| mapping.pages.contains(&address)) else { return Vec::new() };
    let is_clean = |mapping: &&Mapping| {
        mapping.file == own.file
            && match mapping.rights {
                "r-xp" => true,
                "r--p" => mapping.offset == 0,
                _ => false,
            }
    };
    mappings.iter().filter(is_clean).map(|mapping| mapping.pages.clone()).collect()
}

/// A line of `/proc/self/maps`: `55d0-55d8 r-xp 00001000 fe:00 1234 /usr/bin/millrace`.
struct Mapping<'m> {
    pages: Range<usize>,
    rights: &'m str,
    offset: u64,
    /// Device and inode: a name may have been given to another file since.
    file: (&'m str, &'m str),
}

impl<'m> Mapping<'m> {
    fn read(line: &'m str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let pages = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let rights = words.next()?;
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Self { pages, rights, offset, file: (words.next()?, words.next()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::{clean_parts, unmap};

    const MAPS: &str = "\
55d000000000-55d001000000 r--p 00000000 fe:00 1234                       /usr/bin/millrace (deleted)
55d001000000-55d004000000 r-xp 00fff000 fe:00 1234                       /usr/bin/millrace (deleted)
55d004000000-55d004300000 r--p 03ffe000 fe:00 1234                       /usr/bin/millrace (deleted)
55d004300000-55d00430c000 rw-p 042fe000 fe:00 1234                       /usr/bin/millrace (deleted)
55d005000000-55d005500000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 r-xp 00000000 fe:00 77                         /usr/lib/libc.so.6
";

    #[test]
    fn only_what_is_as_in_the_programs_file_is_given_back() {
        let parts = clean_parts(MAPS, 0x55d0_0200_0000);
        assert_eq!(parts, [0x55d0_0000_0000..0x55d0_0100_0000, 0x55d0_0100_0000..0x55d0_0400_0000]);
        assert!(clean_parts(MAPS, 0x1000).is_empty());
    }

    #[test]
    fn the_program_goes_on_when_its_pages_were_given_back() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
            let line = text.lines().find(|line| line.starts_with("Private_Clean:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let words: Vec<String> = (0..1_000).map(|n| format!("{n}")).collect();
        let before = resident();
        unmap();
        let after = resident();
        assert!(after < before, "{after} KiB of {before} are still mapped");
        crate::give_back();
        assert_eq!(words.iter().filter(|word| word.ends_with('7')).count(), 100);
    }
}
