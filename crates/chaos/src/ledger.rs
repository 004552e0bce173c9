//! The ledger of a stream: one binary file, to which a sender appends each record that Kafka has
//! acknowledged. A record that is not in it may or may not be on the topic.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use crate::traffic::Stream;

/// Bytes of one entry: number, partition and offset, in little-endian.
const ENTRY_BYTES: usize = 20;

/// A record that Kafka has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub number: u64,
    pub partition: i32,
    pub offset: i64,
}

/// The writer of a ledger.
#[derive(Debug)]
pub struct Ledger {
    file: BufWriter<File>,
}

impl Ledger {
    /// Returns the file of a stream below a folder.
    #[must_use]
    pub fn path(folder: &Path, stream: Stream) -> PathBuf {
        folder.join(format!("{}.ledger", stream.name()))
    }

    /// Creates an empty ledger, and replaces an earlier one.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?) })
    }

    /// Opens a ledger to append to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: BufWriter::new(file) })
    }

    pub fn append(&mut self, number: u64, partition: i32, offset: i64) -> io::Result<()> {
        self.file.write_all(&number.to_le_bytes())?;
        self.file.write_all(&partition.to_le_bytes())?;
        self.file.write_all(&offset.to_le_bytes())
    }

    /// Writes the entries that are buffered. A dropped ledger is flushed, too, but without a report
    /// of an error.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Reads all entries.
    pub fn read(path: &Path) -> io::Result<Vec<Ack>> {
        Self::entries(path)?.collect()
    }

    /// Reads the entries one after the other. An incomplete last entry is left out: its sender was
    /// killed while it wrote.
    pub fn entries(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Ack>>> {
        let mut file = BufReader::new(File::open(path)?);
        Ok(std::iter::from_fn(move || {
            let mut entry = [0; ENTRY_BYTES];
            match file.read_exact(&mut entry) {
                Ok(()) => Some(Ok(parse(&entry))),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
                Err(error) => Some(Err(error)),
            }
        }))
    }
}

fn parse(entry: &[u8; ENTRY_BYTES]) -> Ack {
    let (number, rest) = entry.split_first_chunk().expect("an entry starts with 8 bytes");
    let (partition, rest) = rest.split_first_chunk().expect("4 bytes follow the number");
    let offset = rest.first_chunk().expect("8 bytes follow the partition");
    Ack {
        number: u64::from_le_bytes(*number),
        partition: i32::from_le_bytes(*partition),
        offset: i64::from_le_bytes(*offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_returns_its_entries_without_a_torn_one() {
        let name = format!("chaos-ledger-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut ledger = Ledger::create(&path).unwrap();
        ledger.append(7, 3, 1_000_000_000_000).unwrap();
        ledger.append(u64::MAX, 0, 0).unwrap();
        drop(ledger);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend([1, 2, 3]);
        std::fs::write(&path, bytes).unwrap();

        let acks = Ledger::read(&path).unwrap();

        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            acks,
            [
                Ack { number: 7, partition: 3, offset: 1_000_000_000_000 },
                Ack { number: u64::MAX, partition: 0, offset: 0 },
            ]
        );
    }
}
