//! What a step's container does, said once: as a shell script for a real container, as a script of the fake kubelet for one
//! in memory.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use fake_cluster::Script;

/// What a container does, from its start to its end.
#[derive(Debug, Clone)]
pub(crate) struct Acts {
    acts: Vec<Act>,
    end: End,
    on_sigterm: Reaction,
    /// In memory only: reason and message of why it never starts. A real one has reasons of its own.
    obstacle: Option<(&'static str, String)>,
}

#[derive(Debug, Clone)]
enum Act {
    Line(String),
    Lines { numbers: Range<usize>, width: usize },
    Bytes(Vec<u8>),
    LongLine(usize),
    Fill { mebibytes: usize },
    Wait(Duration),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Exit(i32),
    Signal(i32),
    OutOfMemory,
    ChildOutOfMemory(i32),
    Never,
}

#[derive(Debug, Clone)]
enum Reaction {
    Die,
    Leave { after: Duration, words: String, code: i32 },
}

impl Acts {
    /// Exits with 0 at once.
    pub(crate) fn new() -> Self {
        Self { acts: Vec::new(), end: End::Exit(0), on_sigterm: Reaction::Die, obstacle: None }
    }

    /// In memory, its image can't be pulled, in these words.
    pub(crate) fn unpullable(self, message: &str) -> Self {
        Self { obstacle: Some(("ErrImagePull", message.to_owned())), ..self }
    }

    /// In memory, its program can't be executed, in these words.
    pub(crate) fn unstartable(self, message: &str) -> Self {
        Self { obstacle: Some(("StartError", message.to_owned())), ..self }
    }

    /// In memory, its image is not on the node and must not be pulled, in these words.
    pub(crate) fn unloadable(self, message: &str) -> Self {
        Self { obstacle: Some(("ErrImageNeverPull", message.to_owned())), ..self }
    }

    /// In memory, its container can't even be described to the container runtime, in these words.
    pub(crate) fn misconfigured(self, message: &str) -> Self {
        Self { obstacle: Some(("CreateContainerConfigError", message.to_owned())), ..self }
    }

    /// In memory, its pod gets no sandbox, in these words.
    pub(crate) fn no_sandbox(self, message: &str) -> Self {
        Self { obstacle: Some(("FailedCreatePodSandBox", message.to_owned())), ..self }
    }

    /// Next, a line is printed.
    pub(crate) fn line(self, line: &str) -> Self {
        self.then(Act::Line(line.to_owned()))
    }

    /// Next, lines of these numbers and of so many characters are printed at full speed: see [`numbered`].
    pub(crate) fn lines(self, numbers: Range<usize>, width: usize) -> Self {
        self.then(Act::Lines { numbers, width })
    }

    /// Next, these bytes are printed, as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.then(Act::Bytes(bytes.to_vec()))
    }

    /// Next, a line of so many `x`.
    pub(crate) fn long_line(self, length: usize) -> Self {
        self.then(Act::LongLine(length))
    }

    /// Next, so much is written to the container's own disk. In memory there is none.
    pub(crate) fn fill(self, mebibytes: usize) -> Self {
        self.then(Act::Fill { mebibytes })
    }

    /// Next, time passes.
    pub(crate) fn wait(self, time: Duration) -> Self {
        self.then(Act::Wait(time))
    }

    fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// At the end, exits with this code.
    pub(crate) fn exit(self, code: i32) -> Self {
        Self { end: End::Exit(code), ..self }
    }

    /// At the end, what it runs dies of this signal, and it says so as a shell does: with 128 more as its exit code.
    pub(crate) fn signal(self, signal: i32) -> Self {
        Self { end: End::Signal(signal), ..self }
    }

    /// At the end, needs more memory than it may have.
    pub(crate) fn out_of_memory(self) -> Self {
        Self { end: End::OutOfMemory, ..self }
    }

    /// At the end, a process of it needs more memory than it may have; it goes on, and exits with this code.
    pub(crate) fn child_out_of_memory(self, code: i32) -> Self {
        Self { end: End::ChildOutOfMemory(code), ..self }
    }

    /// Never ends by itself.
    pub(crate) fn forever(self) -> Self {
        Self { end: End::Never, ..self }
    }

    /// After SIGTERM it goes on for a while, prints its last words and exits with this code.
    pub(crate) fn on_sigterm(self, after: Duration, words: &str, code: i32) -> Self {
        Self { on_sigterm: Reaction::Leave { after, words: words.to_owned(), code }, ..self }
    }

    /// The same after these lines, which a shell prints by itself.
    pub(crate) fn after_lines(mut self, lines: &[String]) -> Self {
        self.acts.splice(0..0, lines.iter().map(|line| Act::Line(line.clone())));
        self
    }

    /// For a shell. It is the container's first process, which no signal ends that it has no handler for.
    pub(crate) fn shell(&self) -> String {
        let mut script = match &self.on_sigterm {
            Reaction::Die => "trap 'exit 143' TERM\n".to_owned(),
            Reaction::Leave { after, words, code } => {
                format!(
                    "leave() {{ sleep {}; printf '%s\\n' {}; exit {code}; }}\ntrap leave TERM\n",
                    after.as_secs_f64(),
                    quoted(words)
                )
            }
        };
        for act in &self.acts {
            // A shell sees a signal only between two commands, or while it waits for one of its own.
            let _infallible = match act {
                Act::Line(line) => writeln!(script, "printf '%s\\n' {}", quoted(line)),
                Act::Lines { numbers: Range { start, end }, width } => {
                    let format = format!("line %07d {}\\n", padding(*width));
                    writeln!(script, "awk 'BEGIN {{ for (i = {start}; i < {end}; i++) printf \"{format}\", i }}'")
                }
                Act::Bytes(bytes) => {
                    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
                    writeln!(script, "printf '{octal}'")
                }
                Act::LongLine(length) => writeln!(script, "head -c {length} /dev/zero | tr '\\0' x; echo"),
                Act::Fill { mebibytes } => writeln!(script, "head -c {mebibytes}m /dev/zero >/tmp/fill"),
                Act::Wait(time) => writeln!(script, "sleep {} & wait $!", time.as_secs_f64()),
            };
        }
        let end = match self.end {
            End::Exit(code) => format!("exit {code}"),
            End::Signal(signal) => format!("sh -c 'kill -{signal} $$'\nexit $?"),
            End::OutOfMemory => "exec tail /dev/zero".to_owned(),
            End::ChildOutOfMemory(code) => format!("tail /dev/zero\nexit {code}"),
            End::Never => "while :; do sleep 1 & wait $!; done".to_owned(),
        };
        script + &end
    }

    /// For the fake kubelet.
    pub(crate) fn script(&self) -> Script {
        let script = self.acts.iter().fold(Script::new(), |script, act| match act {
            Act::Line(line) => script.line(line),
            Act::Lines { numbers, width } => script.lines(numbers.len(), |at| numbered(numbers.start + at, *width)),
            Act::Bytes(bytes) => script.print(bytes.clone()),
            Act::LongLine(length) => script.line(&"x".repeat(*length)),
            Act::Fill { .. } => script,
            Act::Wait(time) => script.wait(*time),
        });
        let script = match self.end {
            End::Exit(code) => script.exit(code),
            End::Signal(signal) => script.exit(128 + signal),
            End::OutOfMemory => script.out_of_memory(),
            End::ChildOutOfMemory(code) => script.child_out_of_memory(code),
            End::Never => script.forever(),
        };
        let script = match &self.obstacle {
            None => script,
            Some((reason, message)) => script.cannot_be_created(reason, message),
        };
        match &self.on_sigterm {
            Reaction::Die => script,
            Reaction::Leave { after, words, code } => script.on_sigterm(*after, format!("{words}\n"), *code),
        }
    }
}

/// The line of this number: so many characters, without its end.
pub(crate) fn numbered(number: usize, width: usize) -> String {
    format!("line {number:07} {}", padding(width))
}

fn padding(width: usize) -> String {
    "x".repeat(width.saturating_sub("line 0000000 ".len()))
}

/// For a shell, as one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
