//! `get`, `put`, `rm`: registers, for shells. Values go through standard input and output as they are.
//!
//! Owns what is read and printed. Conditions and leases are the sidecar's business.

use crate::failure::Failure;
use crate::output::{Output, say, tell};
use crate::socket::Socket;
use clap::{ArgGroup, Args};
use serde_json::json;
use sidelock_client::{Error, LeaseId};
use std::io::{self, Read, Write};

/// Arguments of `get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The register
    key: String,
    /// Also print the value's version, on standard error
    #[arg(long)]
    etag: bool,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `put`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("condition").args(["if_match", "if_absent"]))]
pub(crate) struct PutArgs {
    /// The register; its new value is read from standard input
    key: String,
    /// Only if this is its version
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Only if it has no value
    #[arg(long)]
    if_absent: bool,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `rm`.
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The register
    key: String,
    /// Only if this is its version
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    socket: Socket,
}

/// The lease that the operation is bound to.
#[derive(Args, Debug)]
struct Under {
    /// Only under this lease of the lock with the same name, as `lock` printed it
    #[arg(long, value_name = "LEASE")]
    lease: Option<String>,
}

impl Under {
    /// Its name in frames: what `lock` prints ends with the sidecar's life, of which a later one needs no telling here. A
    /// lease that it does not know does not stand.
    fn id(&self) -> Result<Option<LeaseId>, Failure> {
        let Some(text) = &self.lease else { return Ok(None) };
        let secret = text.get(..32).filter(|_| text.len() == 40).unwrap_or(text);
        let id = secret.parse().map_err(|_| {
            Failure::usage("that is no lease; give what `sidelock lock` printed as SIDELOCK_LEASE")
        })?;
        Ok(Some(id))
    }
}

/// Writes the value of a register to standard output.
pub(crate) async fn get(args: GetArgs) -> Result<(), Failure> {
    let client = crate::wish::connect(&args.socket, "sidelock get").await?;
    let get = args.under.id()?.into_iter().fold(client.register(&args.key).get(), |get, id| get.fenced(id));
    let found = get.await.map_err(Failure::Sdk)?;
    if args.output.is_json() {
        let value = std::str::from_utf8(&found.value)
            .map_err(|_| Failure::broken("the value is no UTF-8 text; read it without -o json"))?;
        let answer = json!({ "key": args.key, "etag": found.etag.to_string(), "value": value });
        return say(&format!("{answer:#}\n"));
    }
    if args.etag {
        tell_etag(found.etag.as_ref());
    }
    let mut out = io::stdout().lock();
    match out.write_all(&found.value).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::broken(format!("can not write the value: {error}")))
        }
        _ => Ok(()),
    }
}

/// Reads a value from standard input, writes it, and prints its version.
pub(crate) async fn put(args: PutArgs) -> Result<(), Failure> {
    let under = args.under.id()?;
    let mut value = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut value)
        .map_err(|error| Failure::broken(format!("can not read the value from standard input: {error}")))?;
    let client = crate::wish::connect(&args.socket, "sidelock put").await?;
    let put = client.register(&args.key).put(value);
    let put = if args.if_absent { put.if_absent() } else { put };
    let put = args.if_match.iter().fold(put, |put, etag| put.if_match(bare(etag)));
    let put = under.into_iter().fold(put, |put, id| put.fenced(id));
    say(&format!("{}\n", put.await.map_err(refused)?))
}

/// Takes a register's value away.
pub(crate) async fn rm(args: RmArgs) -> Result<(), Failure> {
    let client = crate::wish::connect(&args.socket, "sidelock rm").await?;
    let delete = client.register(&args.key).delete();
    let delete = args.if_match.iter().fold(delete, |delete, etag| delete.if_match(bare(etag)));
    let delete = args.under.id()?.into_iter().fold(delete, |delete, id| delete.fenced(id));
    delete.await.map_err(refused)
}

/// An ETag as curl shows it has quotes.
fn bare(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag)
}

/// Says besides which version is there.
fn refused(error: Error) -> Failure {
    if let Error::Conflict(refusal) = &error
        && let Some(current) = &refusal.current
    {
        tell_etag(current.etag.as_ref());
    }
    Failure::Sdk(error)
}

fn tell_etag(etag: &str) {
    tell(format_args!("its ETag is {etag}"));
}
