//! The source of the records: the generator, or the lines of a file.

use time::OffsetDateTime;

use super::{
    args::{LoadArgs, Start},
    generator::{Generator, Kind, Record},
    lines::{self, Line, Lines},
};

pub(super) enum Source {
    Generated { generator: Box<Generator>, start: Start },
    Given(Lines),
}

/// The next item of a source.
pub(super) enum Next {
    Record(Record),
    /// The number of a line that is too long to be sent.
    TooLong(u64),
}

impl Source {
    /// Opens the source. The ids of generated orders begin with `tag`, if it is given.
    pub(super) fn open(args: &LoadArgs, seed: u64, tag: Option<u32>) -> anyhow::Result<Self> {
        let shares = args.shares()?;
        if let Some(path) = &args.file {
            return Ok(Self::Given(Lines::open(path)?));
        }
        let first = match args.start {
            Start::At(instant) => instant,
            Start::Now => OffsetDateTime::now_utc(),
        };
        Ok(Self::Generated {
            generator: Box::new(Generator::new(seed, shares, first).tagged(tag)),
            start: args.start,
        })
    }

    /// Returns the next item, or `None` at the end.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Next>> {
        let record = match self {
            Self::Generated { generator, start } => match start {
                Start::At(_) => generator.next(),
                Start::Now => Some(generator.make(OffsetDateTime::now_utc())),
            },
            Self::Given(lines) => match lines.next().await? {
                Some(Line::TooLong(number)) => return Ok(Some(Next::TooLong(number))),
                Some(Line::Record(value)) => {
                    Some(Record { kind: Kind::Given, key: lines::order_uid(&value), value })
                }
                None => None,
            },
        };
        Ok(record.map(Next::Record))
    }
}
