//! What happened becomes rows.

use piculet_link::wire::workload;
use prost::Message as _;
use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::block::{self, nanoseconds};
use super::pages::{integer, log_of};
use super::upkeep::{self, Leftovers};
use crate::record::{Payload, StepWrite, Write};

/// Where a batch finds room for what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The file may grow.
    Any,
    /// Lines that the batch itself forgets make way.
    OfTheForgotten,
}

/// Writes a batch in one transaction; returns what it leaves to do.
pub(super) fn batch(connection: &mut Connection, batch: &[Write], room: Room) -> Result<Leftovers, StoreError> {
    let mut leftovers = Leftovers::default();
    let transaction = connection.transaction()?;
    let is_forgotten = |write: &Write| matches!(write, Write::ForgetWorkflow(_) | Write::ForgetLogs(_));
    // The dispatcher says first what it has forgotten.
    let (forgotten, rest) = batch.split_at(batch.partition_point(is_forgotten));
    for write in forgotten {
        one(&transaction, write, &mut leftovers).map_err(|error| error.about(|| subject(write)))?;
    }
    if room == Room::OfTheForgotten {
        upkeep::make_room(&transaction, &leftovers)?;
    }
    for write in rest {
        one(&transaction, write, &mut leftovers).map_err(|error| error.about(|| subject(write)))?;
    }
    transaction.commit()?;
    Ok(leftovers)
}

/// What a change is about, for people.
fn subject(write: &Write) -> String {
    match write {
        Write::ServerId(_) => "the server's identity".to_owned(),
        Write::ForgetWorkflow(number) | Write::ForgetLogs(number) => format!("that workflow {number} is forgotten"),
        Write::Workflow(record, _) => format!("workflow {}", record.number),
        Write::Step(step) => format!("step {} of workflow {}", step.position, step.workflow),
        Write::Agent(agent) => format!("agent {}", agent.number),
        Write::ForgetAgent(number) => format!("that agent {number} is forgotten"),
        Write::Cluster(cluster) => format!("the cluster '{}'", cluster.name),
        Write::ForgetCluster(name) => format!("that the cluster '{name}' is forgotten"),
        Write::Token(token) => format!("the token '{}'", token.id),
        Write::ForgetToken(id) => format!("that the token '{id}' is forgotten"),
    }
}

fn one(transaction: &Transaction<'_>, write: &Write, leftovers: &mut Leftovers) -> Result<(), StoreError> {
    let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<(), StoreError> {
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    };
    match write {
        Write::ServerId(id) => execute("INSERT INTO server VALUES ('id', ?1)", &[id]),
        Write::ForgetWorkflow(number) => {
            let number = integer(*number);
            leftovers.logs.extend(log_with_lines(transaction, number)?);
            leftovers.secrets |= forget_payload(transaction, number)?;
            execute("DELETE FROM workflows WHERE number = ?1", &[&number])?;
            execute("DELETE FROM steps WHERE workflow = ?1", &[&number])?;
            execute("DELETE FROM renewed_logs WHERE workflow = ?1", &[&number])
        }
        Write::ForgetLogs(number) => {
            let number = integer(*number);
            let Some(log) = log_with_lines(transaction, number)? else { return Ok(()) };
            leftovers.logs.push(log);
            // One that is forgotten in the same batch needs no new log.
            let renew = "INSERT OR REPLACE INTO renewed_logs (workflow) SELECT number FROM workflows WHERE number = ?1";
            execute(renew, &[&number])
        }
        Write::Workflow(record, payload) => {
            let number = integer(record.number);
            execute(
                "INSERT INTO workflows VALUES (?1, ?2, ?3) ON CONFLICT (number) DO UPDATE SET document = excluded.document",
                &[&number, &record.id.as_str(), &document(record)?],
            )?;
            match payload {
                Payload::Same => Ok(()),
                Payload::New(spec) => {
                    let workload = workload::encode(spec).encode_to_vec();
                    execute("INSERT INTO payloads VALUES (?1, ?2)", &[&number, &workload])
                }
                Payload::Gone => {
                    leftovers.secrets |= forget_payload(transaction, number)?;
                    Ok(())
                }
            }
        }
        Write::Step(step) => self::step(transaction, step),
        Write::Agent(agent) => execute(
            "INSERT INTO agents VALUES (?1, ?2, ?3) ON CONFLICT (number) DO UPDATE SET document = excluded.document",
            &[&integer(agent.number), &agent.instance.as_str(), &document(agent)?],
        ),
        Write::ForgetAgent(number) => execute("DELETE FROM agents WHERE number = ?1", &[&integer(*number)]),
        Write::Cluster(cluster) => {
            execute("INSERT OR REPLACE INTO clusters VALUES (?1, ?2)", &[&cluster.name, &document(cluster)?])
        }
        Write::ForgetCluster(name) => execute("DELETE FROM clusters WHERE name = ?1", &[name]),
        Write::Token(token) => {
            execute("INSERT OR REPLACE INTO tokens VALUES (?1, ?2)", &[&token.id, &document(token)?])
        }
        Write::ForgetToken(id) => execute("DELETE FROM tokens WHERE id = ?1", &[id]),
    }
}

/// Deletes a workload; false if it isn't there.
fn forget_payload(transaction: &Transaction<'_>, workflow: i64) -> Result<bool, StoreError> {
    Ok(transaction.prepare_cached("DELETE FROM payloads WHERE workflow = ?1")?.execute([workflow])? > 0)
}

/// The log of a workflow; `None` if it has no lines.
fn log_with_lines(transaction: &Transaction<'_>, workflow: i64) -> Result<Option<i64>, StoreError> {
    let log = log_of(transaction, workflow)?;
    let has_lines = transaction.prepare_cached("SELECT 1 FROM log_blocks WHERE workflow = ?1")?.exists([log])?;
    Ok(has_lines.then_some(log))
}

fn step(transaction: &Transaction<'_>, step: &StepWrite) -> Result<(), StoreError> {
    let (workflow, position) = (integer(step.workflow), step.position as i64);
    let part = step.part.as_ref();
    transaction.prepare_cached("INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute((
        workflow,
        position,
        &step.document,
        part.map(|part| integer(part.number)),
        part.map(|part| nanoseconds(part.time)),
        part.map(|part| &part.bytes[..]),
    ))?;
    if step.lines.is_empty() {
        return Ok(());
    }
    let log = log_of(transaction, workflow)?;
    let mut insert = transaction.prepare_cached("INSERT INTO log_blocks VALUES (?1, ?2, ?3, ?4)")?;
    for (first, lines) in block::encode(&step.lines) {
        insert.execute((log, position, integer(first), lines))?;
    }
    Ok(())
}

fn document(record: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Broken { reason: error.to_string() })
}
