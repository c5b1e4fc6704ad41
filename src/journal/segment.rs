//! The bytes around the entries: a file's mark and head, then frames, each with its length and a checksum over length,
//! place and content. A frame that does not check out ends what a file says, so a torn tail is cut off and nothing
//! behind damage is believed.
//!
//! Layout: mark (8 bytes), the head as a frame, then frames. A frame: length of the content (u32), CRC-32C (u32) over that
//! length, the frame's offset in the file (u64) and the content, then the content: the time its entries count from, and
//! the entries. Everything little-endian. A compressed segment begins with a skippable frame of Zstandard that says which
//! campaigns are in it, so that most files need not be unpacked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};

use super::entry::{Damage, get, put, put_text, text};
use crate::domain::ids::CampaignSeq;

/// First bytes of every file.
pub(super) const MARK: &[u8; 8] = b"CTJRNL\r\n";

/// Version of the format.
const VERSION: u64 = 1;

/// Bytes of a frame before its content.
pub(super) const FRAME_HEAD: usize = 8;

/// Longest content of a frame: far above what one turn of a shard says.
pub(super) const FRAME_MAX: usize = 16 << 20;

/// Ends of names: a file being written or not yet compressed, and a compressed one.
pub(super) const PLAIN: &str = ".ctj";
pub(super) const PACKED: &str = ".ctj.zst";

/// Zstandard skips a frame that begins so.
const SKIPPABLE: u32 = 0x184D_2A5C;

/// Campaigns that a compressed file lists at most; with more of them it has to be read.
const LISTED_MAX: usize = 4096;

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Who wrote a file, and where in the order of files it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Name of the installation.
    pub installation: String,
    /// The process.
    pub node: String,
    /// The thread or task of it.
    pub writer: String,
    /// Boot of the machine.
    pub boot: [u8; 16],
    /// How often a process was started on this folder, this one included.
    pub start: u64,
    /// The writer's file, from 1.
    pub segment: u64,
    /// When it was opened, in wall ms.
    pub opened_ms: u64,
}

/// What a compressed file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// The campaigns in it; None: too many to list.
    pub(super) campaigns: Option<Vec<CampaignSeq>>,
    /// Time of its last entry, in wall ms.
    pub(super) last_ms: u64,
}

/// A name taken apart. Names sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) start: u64,
    pub(super) writer: String,
    pub(super) segment: u64,
}

impl Head {
    /// Mark and head, as a file begins.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(128);
        put(VERSION, &mut content);
        content.extend_from_slice(&self.boot);
        for number in [self.start, self.segment, self.opened_ms] {
            put(number, &mut content);
        }
        for name in [&self.installation, &self.node, &self.writer] {
            put_text(name, &mut content);
        }
        let mut out = MARK.to_vec();
        out.extend_from_slice(&frame_head(MARK.len() as u64, &content));
        out.extend_from_slice(&content);
        out
    }

    pub(super) fn decode(mut content: &[u8]) -> Result<Self, &'static str> {
        let broken = |_: Damage| "its head is damaged";
        let from = &mut content;
        if get(from).map_err(broken)? != VERSION {
            return Err("it is of another version");
        }
        let (boot, rest) = from.split_at_checked(16).ok_or("its head is damaged")?;
        *from = rest;
        let boot = boot.try_into().map_err(|_| "its head is damaged")?;
        let mut number = || get(from).map_err(broken);
        let (start, segment, opened_ms) = (number()?, number()?, number()?);
        let mut name = || text(from).map(str::to_owned).map_err(broken);
        Ok(Self { installation: name()?, node: name()?, writer: name()?, boot, start, segment, opened_ms })
    }

    /// The file's name: by time, then unique.
    pub(super) fn file_name(&self) -> String {
        let Self { opened_ms, start, node, writer, segment, .. } = self;
        format!("{opened_ms:013}-{start:08}-{node}-{writer}-{segment:06}{PLAIN}")
    }
}

impl Name {
    /// None for files of operators and of others.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(PACKED).or_else(|| name.strip_suffix(PLAIN))?;
        let mut parts = name.split('-');
        let _opened = parts.next()?.parse::<u64>().ok()?;
        let start = parts.next()?.parse().ok()?;
        let _node = parts.next()?;
        let writer = parts.next()?.to_owned();
        let segment = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { start, writer, segment })
    }
}

/// The name of a plain file once it is compressed.
pub(super) fn packed_path(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(".zst");
    name.into()
}

/// Length and checksum of a frame.
pub(super) fn frame_head(offset: u64, content: &[u8]) -> [u8; FRAME_HEAD] {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&length);
    head[4..].copy_from_slice(&checksum(length, offset, content).to_le_bytes());
    head
}

fn checksum(length: [u8; 4], offset: u64, content: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&length);
    digest.update(&offset.to_le_bytes());
    digest.update(content);
    digest.finalize()
}

/// Reads the frame at `offset` into `content`. Ok(false): the file ends here, or what follows is torn or damaged;
/// `content` is empty exactly if not one byte followed.
pub(super) fn read_frame(from: &mut impl Read, offset: u64, content: &mut Vec<u8>) -> io::Result<bool> {
    content.clear();
    (&mut *from).take(FRAME_HEAD as u64).read_to_end(content)?;
    let Ok(head) = <[u8; FRAME_HEAD]>::try_from(content.as_slice()) else {
        return Ok(false);
    };
    let [a, b, c, d, crc @ ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    if length as usize > FRAME_MAX {
        return Ok(false);
    }
    content.clear();
    // Not more memory than the file has bytes, whatever a damaged length says.
    let read = (&mut *from).take(u64::from(length)).read_to_end(content)?;
    if read < length as usize || checksum(length.to_le_bytes(), offset, content) != u32::from_le_bytes(crc) {
        content.clear();
        content.extend_from_slice(&head);
        return Ok(false);
    }
    Ok(true)
}

impl Digest {
    /// Notes a campaign and a time.
    pub(super) fn add(&mut self, campaign: Option<CampaignSeq>, at_ms: u64) {
        self.last_ms = self.last_ms.max(at_ms);
        let (Some(campaign), Some(listed)) = (campaign, &mut self.campaigns) else { return };
        if let Err(at) = listed.binary_search(&campaign) {
            if listed.len() < LISTED_MAX {
                listed.insert(at, campaign);
            } else {
                self.campaigns = None;
            }
        }
    }

    /// As a skippable frame of Zstandard.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        put(self.last_ms, &mut content);
        content.push(u8::from(self.campaigns.is_some()));
        for campaign in self.campaigns.iter().flatten() {
            put(u64::from(campaign.0), &mut content);
        }
        let head = frame_head(0, &content);
        let mut out = SKIPPABLE.to_le_bytes().to_vec();
        out.extend_from_slice(&u32::try_from(head.len() + content.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&content);
        out
    }

    /// Reads it; what follows is the compressed file. None: there is none that can be believed.
    pub(super) fn decode(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut mark = [0; 8];
        if let Err(error) = from.read_exact(&mut mark) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let mut content = Vec::new();
        if mark[..4] != SKIPPABLE.to_le_bytes() || !read_frame(from, 0, &mut content)? {
            return Ok(None);
        }
        let mut rest = content.as_slice();
        Ok(Self::parse(&mut rest).ok())
    }

    fn parse(from: &mut &[u8]) -> Result<Self, Damage> {
        let last_ms = get(from)?;
        let (listed, rest) = from.split_first().ok_or(Damage)?;
        *from = rest;
        let mut campaigns = Vec::new();
        while !from.is_empty() {
            campaigns.push(CampaignSeq(u32::try_from(get(from)?).map_err(|_| Damage)?));
        }
        Ok(Self { campaigns: (*listed == 1).then_some(campaigns), last_ms })
    }
}
