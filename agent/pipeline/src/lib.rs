//! Pipeline files to workloads.
//!
//! [`compile`] takes a file and a [`Context`] (what happened, in which repository, which secrets there are) and gives
//! one [`CompiledWorkflow`] per combination of the file's matrix, or [`Diagnostics`]: everything that is wrong, at
//! once, each with line, column and the lines of the file as it was written.
//!
//! The way of a file: its bytes become text ([`SourceFile`]), `${VARIABLES}` in the text are replaced (`substitute`),
//! the result becomes a tree that knows its positions (`yaml`), the tree is read as a dialect (`woodpecker`), and what
//! was read becomes a `WorkloadSpec`. Nothing here does I/O or reads a clock: the same input gives the same output.
//!
//! ```
//! use piculet_pipeline::{Context, SourceFile, compile};
//!
//! let context = Context { id_prefix: "pipeline 42".to_owned(), ..Context::default() };
//! let file = SourceFile::new(".woodpecker/build.yaml", "
//! when: [{event: push}]
//! steps:
//!   - name: build
//!     image: rust
//!     commands: [cargo build]
//! ");
//! let compiled = compile(&file, &context)?;
//! let workflow = &compiled.workflows[0];
//! assert_eq!(workflow.name, "build");
//! assert_eq!(workflow.spec.stages.len(), 2, "a clone step comes first");
//!
//! let broken = SourceFile::new("build.yaml", "steps:\n  build: {imge: rust}\n");
//! let said = compile(&broken, &context).unwrap_err().to_string();
//! assert!(said.contains("step 'build' has no image"));
//! assert!(said.contains("did you mean 'image'?"));
//! # Ok::<(), piculet_pipeline::Diagnostics>(())
//! ```

mod compiled;
mod context;
mod diagnostic;
mod environment;
mod expression;
mod glob;
mod report;
mod source;
mod step_id;
mod substitute;
mod woodpecker;
mod yaml;

pub use compiled::{
    Compiled, CompiledWorkflow, Concurrency, FilteredWorkflow, RunsOn, SkippedStep, WorkflowDependency,
    without_missing_dependencies,
};
pub use context::{
    Author, Commit, Context, DEFAULT_CLONE_IMAGE, Event, Forge, Given, GivenError, Pipeline, Previous, Repository,
    System, Trusted, UnknownEvent,
};
pub use diagnostic::{Diagnostic, Diagnostics, Location, Severity};
pub use source::SourceFile;
pub use step_id::identify_steps;

/// Compiles a pipeline file.
///
/// # Errors
/// Everything that is wrong with the file, warnings included, in the order of the file.
pub fn compile(file: &SourceFile, context: &Context) -> Result<Compiled, Diagnostics> {
    woodpecker::compile(file, context)
}
