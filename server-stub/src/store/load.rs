//! Everything but the logs, read at the start.

use std::collections::BTreeMap;

use bytes::BytesMut;
use piculet_core::workload::WorkloadSpec;
use piculet_link::wire::workload;
use piculet_proto::v1;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::de::DeserializeOwned;

use super::{StoreError, block};
use crate::ledger::{Part, StepRecord};
use crate::record::{AgentRecord, ClusterRecord, StepDocument, TokenRecord, WorkflowRecord};

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The server's identity, if it has one already.
    pub server_id: Option<String>,
    /// The oldest first.
    pub workflows: Vec<LoadedWorkflow>,
    /// The highest number that a workflow ever had.
    pub last_workflow: u64,
    /// Agents that were heard of lately.
    pub agents: Vec<AgentRecord>,
    /// The highest number that an agent ever had.
    pub last_agent: u64,
    /// Clusters, by name.
    pub clusters: Vec<ClusterRecord>,
    /// Agent tokens, by id.
    pub tokens: Vec<TokenRecord>,
}

/// A workflow as it was stored.
#[derive(Debug)]
pub struct LoadedWorkflow {
    /// All but the steps.
    pub record: WorkflowRecord,
    /// In the order of the file.
    pub steps: Vec<(StepRecord, crate::ledger::Known, Option<Part>)>,
    /// What is to be run; `None` once it is over.
    pub spec: Option<WorkloadSpec>,
}

pub(super) fn all(connection: &Connection) -> Result<Loaded, StoreError> {
    let server_id =
        connection.query_row("SELECT value FROM server WHERE key = 'id'", (), |row| row.get(0)).optional()?;
    let mut steps = steps(connection)?;
    let mut specs = payloads(connection)?;
    let records = documents::<WorkflowRecord>(connection, "workflows", "number", "number")?;
    let workflows = records.into_iter().map(|record| {
        let number = record.number;
        LoadedWorkflow { record, steps: steps.remove(&number).unwrap_or_default(), spec: specs.remove(&number) }
    });
    Ok(Loaded {
        server_id,
        workflows: workflows.collect(),
        last_workflow: last(connection, "workflows")?,
        agents: documents(connection, "agents", "number", "number")?,
        last_agent: last(connection, "agents")?,
        clusters: documents(connection, "clusters", "name", "name")?,
        tokens: documents(connection, "tokens", "id", "id")?,
    })
}

/// The documents of a table. `key` names a row for people.
fn documents<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    key: &str,
    order: &str,
) -> Result<Vec<T>, StoreError> {
    let mut query = connection.prepare(&format!("SELECT {key}, document FROM {table} ORDER BY {order}"))?;
    let mut rows = query.query(())?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(parsed(row, 1, || format!("the row {:?} of the table {table}", row.get_ref(0)))?);
    }
    Ok(all)
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize, what: impl FnOnce() -> String) -> Result<T, StoreError> {
    let document = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let document = document.and_then(|text| {
        serde_json::from_str(text).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    });
    document.map_err(|error| StoreError::corrupt(what(), error))
}

type Steps = Vec<(StepRecord, crate::ledger::Known, Option<Part>)>;

fn steps(connection: &Connection) -> Result<BTreeMap<u64, Steps>, StoreError> {
    let mut query = connection.prepare(
        "SELECT workflow, position, document, part_number, part_time, part FROM steps ORDER BY workflow, position",
    )?;
    let mut rows = query.query(())?;
    let mut all: BTreeMap<u64, Steps> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (workflow, position): (i64, i64) = (row.get(0)?, row.get(1)?);
        let what = || format!("step {position} of workflow {workflow}");
        let StepDocument { step, log } = parsed(row, 2, what)?;
        let steps = all.entry(workflow.unsigned_abs()).or_default();
        if i64::try_from(steps.len()).ok() != Some(position) {
            return Err(StoreError::corrupt(what(), "an earlier one lacks"));
        }
        steps.push((step, log, part(row)?));
    }
    Ok(all)
}

fn part(row: &Row<'_>) -> rusqlite::Result<Option<Part>> {
    let Some(number) = row.get::<_, Option<i64>>(3)? else { return Ok(None) };
    let time = block::time(row.get(4)?);
    let bytes = BytesMut::from(row.get_ref(5)?.as_blob()?);
    Ok(Some(Part { number: number.unsigned_abs(), time, bytes }))
}

fn payloads(connection: &Connection) -> Result<BTreeMap<u64, WorkloadSpec>, StoreError> {
    let mut query = connection.prepare("SELECT workflow, workload FROM payloads")?;
    let mut rows = query.query(())?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let corrupt = |reason: String| StoreError::corrupt(format!("the workload of workflow {number}"), reason);
        let bytes = row.get_ref(1)?.as_blob().map_err(|error| corrupt(error.to_string()))?;
        let message = v1::Workload::decode(bytes).map_err(|error| corrupt(error.to_string()))?;
        let spec = workload::decode(message).map_err(|error| corrupt(error.to_string()))?;
        all.insert(number.unsigned_abs(), spec);
    }
    Ok(all)
}

/// The highest number that a table's rows ever had.
fn last(connection: &Connection, table: &str) -> Result<u64, StoreError> {
    let last = connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(last.unwrap_or_default().unsigned_abs())
}
