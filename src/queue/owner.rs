//! Who may send what: nodes with leases, and the numbers divided among them.
//!
//! A node is one `serve` process. It renews one lease for everything it owns, gives numbers back, and asks for free
//! ones; the script grants a number to one node only. Who *should* own which number is decided in
//! [`crate::policy::assign`], from the snapshot that comes with a renewal whenever something has changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::connection::Connection;
use redis::{AsyncCommands, FromRedisValue, Value, from_redis_value};

use super::{QueueError, keys, script};
use crate::clock::WallMs;
use crate::domain::ids::NumberId;

/// How long a lease lasts unless the configuration says otherwise.
pub const LEASE: Duration = Duration::from_secs(10);

/// What a node wants of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Become a node.
    Join,
    /// Stay one: a heartbeat.
    Keep,
    /// Be one no more; what is still owned counts as lost.
    Leave,
}

/// One heartbeat. Making it twice changes nothing more.
#[derive(Clone, Debug)]
pub struct Beat<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Which process of that name it is.
    pub incarnation: &'a str,
    /// What it wants.
    pub ask: Ask,
    /// How long the lease shall last.
    pub lease: Duration,
    /// The last version of the campaign records that it acted on.
    pub acknowledged: u64,
    /// How much it can carry: its shards.
    pub capacity: u32,
    /// It is stopping.
    pub leaving: bool,
    /// Its numbers and their weights, as [`offers`] writes them; None: as before.
    pub offers: Option<&'a str>,
    /// The revision of the snapshot that it has; None: it has none.
    pub revision: Option<u64>,
    /// Numbers that it gives back, each with the time for which nothing may be sent on it; None: who had it last, and
    /// until when, is not known, and it counts as lost.
    pub give_back: &'a [(NumberId, Option<Duration>)],
    /// Numbers that it asks for.
    pub take: &'a [NumberId],
}

/// What came of a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Renewal {
    /// The lease goes on.
    Kept(Kept),
    /// The lease ended before: everything that was owned may be somebody else's.
    Gone,
    /// Another process lives under this name, for at least so long.
    Held(Duration),
}

/// A lease that goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// A fencing token: above all that were ever given.
    pub token: u64,
    /// When the next lease of another node ends, from now, unless it is renewed.
    pub next_end: Option<Duration>,
    /// The wall clock of Redis.
    pub now: WallMs,
    /// Numbers that were asked for and are ours.
    pub taken: Vec<Taken>,
    /// Revision of the division.
    pub revision: u64,
    /// The division, if it is not the one known.
    pub snapshot: Option<Snapshot>,
}

/// A number that was given to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The number.
    pub number: NumberId,
    /// For how long nothing may be sent on it, on account of what its last owner sent.
    pub wait: Duration,
    /// Whether its last owner gave it back. Otherwise it was lost, and what it was sending is in doubt.
    pub given_back: bool,
}

/// All nodes and numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Owned numbers.
    pub owners: BTreeMap<NumberId, Owned>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// End of its lease by Redis' clock, in wall ms.
    pub ends_ms: u64,
    /// The last version of the campaign records that it acted on.
    pub acknowledged: u64,
    /// How much it can carry.
    pub capacity: u32,
    /// Since when it is a node, in wall ms by Redis' clock.
    pub joined_ms: u64,
    /// It is stopping.
    pub leaving: bool,
    /// How long its lease lasts.
    pub lease: Duration,
    /// Its numbers and their weights.
    pub offers: BTreeMap<NumberId, f64>,
}

/// Who owns a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The node.
    pub node: String,
    /// Since when, in wall ms by Redis' clock.
    pub since_ms: u64,
}

/// A live node as a command sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub node: String,
    /// Age of its heartbeat by Redis' clock.
    pub age: Duration,
    /// The last version of the campaign records it acted on.
    pub acknowledged: u64,
}

impl Snapshot {
    /// The node that does what one node does for all: the one that has been there longest.
    pub fn leader(&self) -> Option<&str> {
        let staying = self.nodes.iter().filter(|(_, node)| !node.leaving);
        staying.min_by_key(|(name, node)| (node.joined_ms, *name)).map(|(name, _)| name.as_str())
    }
}

/// Numbers and weights as a heartbeat carries them; never empty, since that would say that nothing has changed.
pub fn offers<'a>(numbers: impl Iterator<Item = (&'a NumberId, f64)>) -> String {
    numbers.fold(String::from(" "), |mut text, (number, weight)| {
        let _infallible = write!(text, "{number} {weight} ");
        text
    })
}

/// Makes one heartbeat.
pub async fn beat(connection: &mut Connection, beat: &Beat<'_>) -> Result<Renewal, QueueError> {
    let word = match beat.ask {
        Ask::Join => "join",
        Ask::Keep => "keep",
        Ask::Leave => "leave",
    };
    let back = beat.give_back.iter().fold(String::new(), |mut text, (number, wait)| {
        let wait = wait.map_or_else(|| "lost".to_owned(), |wait| wait.as_micros().to_string());
        let _infallible = write!(text, "{number} {wait} ");
        text
    });
    let take: Vec<&str> = beat.take.iter().map(|number| &*number.0).collect();
    let revision = beat.revision.map(|revision| revision.to_string()).unwrap_or_default();
    let mut call = script::OWN.prepare_invoke();
    call.key(keys::OWN).key(keys::OWN_NODES).key(keys::OWN_NUMBERS).key(keys::OWN_OFFERS);
    call.arg(beat.node).arg(beat.incarnation).arg(word).arg(millis(beat.lease)).arg(beat.acknowledged);
    call.arg(beat.capacity).arg(u8::from(beat.leaving)).arg(beat.offers.unwrap_or("")).arg(revision);
    call.arg(back).arg(take.join(" ")).arg(keys::OWN_EVENTS);
    let mut reply = script::run_alone::<Vec<Value>>(connection, &call).await?.into_iter();
    let mut next = || reply.next().unwrap_or(Value::Nil);
    match value::<String>(next())?.as_str() {
        "gone" => return Ok(Renewal::Gone),
        "held" => return Ok(Renewal::Held(Duration::from_millis(value(next())?))),
        "ok" => {}
        _ => return Err(unknown()),
    }
    let (token, revision) = (number(&value::<String>(next())?)?, number(&value::<String>(next())?)?);
    let next_end = u64::try_from(value::<i64>(next())?).ok().map(Duration::from_millis);
    let now = WallMs(number(&value::<String>(next())?)?);
    let taken = value::<Vec<String>>(next())?.chunks_exact(3).map(taken).collect::<Result<_, _>>()?;
    let (nodes, numbers, lists): (Pairs, Pairs, Pairs) = (value(next())?, value(next())?, value(next())?);
    let snapshot = (Some(revision) != beat.revision).then(|| snapshot(nodes, numbers, lists)).transpose()?;
    Ok(Renewal::Kept(Kept { token, next_end, now, taken, revision, snapshot }))
}

/// How long others still have, after a failover, to say what this Redis forgot of them: at most a lease.
pub async fn grace_left(connection: &mut Connection, lease: Duration) -> Result<Duration, QueueError> {
    let mut call = script::GRACE.prepare_invoke();
    call.key(keys::OWN).key(keys::OWN_NODES).arg(millis(lease));
    Ok(Duration::from_millis(script::run_alone(connection, &call).await?))
}

/// Every node whose lease runs, and every owned number.
pub async fn division(connection: &mut Connection) -> Result<(Snapshot, u64), QueueError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME").cmd("HGETALL").arg(keys::OWN_NODES).cmd("HGETALL").arg(keys::OWN_NUMBERS);
    pipeline.cmd("HGETALL").arg(keys::OWN_OFFERS);
    let ((seconds, micros), nodes, numbers, lists): ((u64, u64), Pairs, Pairs, Pairs) =
        pipeline.query_async(connection).await?;
    let now_ms = seconds * 1000 + micros / 1000;
    let mut all = snapshot(nodes, numbers, lists)?;
    all.nodes.retain(|_, node| node.ends_ms > now_ms);
    all.owners.retain(|_, owned| all.nodes.contains_key(&owned.node));
    Ok((all, now_ms))
}

/// The live nodes, by name.
pub async fn live_nodes(connection: &mut Connection) -> Result<Vec<Owner>, QueueError> {
    let (all, now_ms) = division(connection).await?;
    let owner = |(node, one): (String, Node)| {
        let left = Duration::from_millis(one.ends_ms.saturating_sub(now_ms));
        Owner { node, age: one.lease.saturating_sub(left), acknowledged: one.acknowledged }
    };
    Ok(all.nodes.into_iter().map(owner).collect())
}

/// Ends the leases that have run out: whoever comes late must join anew, and cannot go on with what it knew. Returns for how
/// long a lease may run that this Redis has forgotten; then nothing was changed.
pub async fn expire(connection: &mut Connection) -> Result<Duration, QueueError> {
    let mut call = script::EXPIRE.prepare_invoke();
    call.key(keys::OWN).key(keys::OWN_NODES).key(keys::OWN_NUMBERS).key(keys::OWN_OFFERS);
    call.arg(keys::OWN_EVENTS);
    Ok(Duration::from_millis(script::run(connection, &call).await?))
}

/// Stores what a node last said of itself, for `status`; it fades when the node is gone.
pub async fn publish_status(connection: &mut Connection, node: &str, status: &str) -> Result<(), QueueError> {
    Ok(connection.set_ex(keys::node_status(node), status, LEASE.as_secs()).await?)
}

/// What a node last said of itself.
pub async fn read_status(connection: &mut Connection, node: &str) -> Result<Option<String>, QueueError> {
    Ok(connection.get(keys::node_status(node)).await?)
}

/// What several nodes last said of themselves, those that said something.
pub async fn read_statuses(connection: &mut Connection, nodes: &[&str]) -> Result<Vec<String>, QueueError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = redis::pipe();
    for node in nodes {
        pipeline.cmd("GET").arg(keys::node_status(node));
    }
    let said: Vec<Option<String>> = pipeline.query_async(connection).await?;
    Ok(said.into_iter().flatten().collect())
}

type Pairs = Vec<(String, String)>;

fn snapshot(nodes: Pairs, numbers: Pairs, lists: Pairs) -> Result<Snapshot, QueueError> {
    let mut all = Snapshot::default();
    for (name, text) in nodes {
        all.nodes.insert(name, node(&text).ok_or_else(|| corrupt(keys::OWN_NODES))?);
    }
    for (number, text) in numbers {
        let (owner, rest) = text.split_once(' ').ok_or_else(|| corrupt(keys::OWN_NUMBERS))?;
        if owner != "-" {
            let since_ms = rest.split(' ').next().and_then(|since| since.parse().ok()).unwrap_or(0);
            all.owners.insert(NumberId::from(number.as_str()), Owned { node: owner.to_owned(), since_ms });
        }
    }
    for (name, text) in lists {
        let words: Vec<&str> = text.split_whitespace().collect();
        let offers =
            words.chunks_exact(2).filter_map(|pair| Some((NumberId::from(pair[0]), pair[1].parse().ok()?)));
        if let Some(node) = all.nodes.get_mut(&name) {
            node.offers = offers.collect();
        }
    }
    Ok(all)
}

fn node(text: &str) -> Option<Node> {
    let mut numbers = text.split(' ').skip(1).map(|word| word.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some(Node {
        ends_ms: next()?,
        acknowledged: next()?,
        capacity: u32::try_from(next()?).unwrap_or(u32::MAX),
        joined_ms: next()?,
        leaving: next()? == 1,
        lease: Duration::from_millis(next()?),
        offers: BTreeMap::new(),
    })
}

fn taken(words: &[String]) -> Result<Taken, QueueError> {
    let [id, wait_us, how] = words else { return Err(unknown()) };
    let wait = Duration::from_micros(number(wait_us)?);
    Ok(Taken { number: NumberId::from(id.as_str()), wait, given_back: how == "given" })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn number(text: &str) -> Result<u64, QueueError> {
    text.parse().map_err(|_| unknown())
}

fn value<T: FromRedisValue>(value: Value) -> Result<T, QueueError> {
    from_redis_value(value).map_err(|error| QueueError::Refused(error.to_string()))
}

fn unknown() -> QueueError {
    QueueError::Refused("own: an answer of unknown shape".to_owned())
}

fn corrupt(key: &str) -> QueueError {
    QueueError::Corrupt { key: key.to_owned(), what: "an entry is none that this program writes".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_stays_leads() {
        let node = |joined_ms, leaving| Node { joined_ms, leaving, ..Node::default() };
        let nodes =
            [("c", node(5, false)), ("b", node(5, false)), ("a", node(9, false)), ("d", node(1, true))];
        let mut all = Snapshot::default();
        assert_eq!(all.leader(), None);
        all.nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into();
        assert_eq!(all.leader(), Some("b"));
    }

    #[test]
    fn offers_survive_their_text() {
        let numbers = [(NumberId::from("1"), 80.0), (NumberId::from("2"), 0.01)];
        let text = offers(numbers.iter().map(|(id, weight)| (id, *weight)));
        let nodes = vec![("a".to_owned(), "i 9 1 2 3 0 10000".to_owned())];
        let all = snapshot(nodes, Vec::new(), vec![("a".to_owned(), text)]).unwrap();
        assert_eq!(all.nodes["a"].offers, numbers.into());
        assert!(snapshot(vec![("a".to_owned(), "i x".to_owned())], Vec::new(), Vec::new()).is_err());
    }
}
