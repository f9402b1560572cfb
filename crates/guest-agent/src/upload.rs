//! Code on its way into the work folder.

use std::{fs::File, io::Write, path::Path};

use vulcan_guest_protocol::{CodeForm, Invoke, Refusal};

use crate::{archive, limits::UPLOAD_BYTES_MAX, paths, places::Places, refusal};

/// A request whose code has not arrived yet.
#[derive(Debug)]
pub(crate) struct Upload {
    invoke: Invoke,
    target: Target,
    missing: u64,
}

#[derive(Debug)]
enum Target {
    /// Written as it comes.
    File(File),
    /// Kept until it is whole.
    Archive(Vec<u8>),
    /// There is no code.
    Nothing,
}

impl Upload {
    /// Prepares for the code.
    pub(crate) fn open(invoke: Invoke, places: &Places) -> Result<Self, Refusal> {
        for (what, bytes) in [("code", invoke.code_bytes), ("input", invoke.input_bytes)] {
            if bytes > UPLOAD_BYTES_MAX {
                let message = format!("{bytes} bytes of {what} are more than {UPLOAD_BYTES_MAX}");
                return Err(refusal::too_large(message));
            }
        }
        if invoke.code_form == CodeForm::Command {
            return Self::of_command(invoke);
        }
        let names = paths::names(Path::new(&invoke.entrypoint)).map_err(|problem| {
            refusal::invalid(format!("the entrypoint '{}' {problem}", invoke.entrypoint))
        })?;
        let Some((name, folders)) = names.split_last() else {
            return Err(refusal::invalid("the entrypoint is empty"));
        };
        let target = match invoke.code_form {
            CodeForm::Loaded | CodeForm::Command => return Err(refusal::invalid("nothing is loaded")),
            CodeForm::Archive => Target::Archive(Vec::new()),
            CodeForm::File => paths::open_root(&places.work)
                .and_then(|root| paths::make_folders(&root, folders))
                .and_then(|folder| paths::make_file(&folder, name, 0o644))
                .map(Target::File)
                .map_err(|error| refusal::io(format_args!("write {}", invoke.entrypoint), &error))?,
        };
        Ok(Self {
            missing: invoke.code_bytes,
            invoke,
            target,
        })
    }

    fn of_command(invoke: Invoke) -> Result<Self, Refusal> {
        if invoke.code_bytes > 0 || invoke.command.is_none() {
            return Err(refusal::invalid("a command has no code, and needs a program"));
        }
        Ok(Self {
            missing: 0,
            invoke,
            target: Target::Nothing,
        })
    }

    /// Takes bytes, and returns those behind the code: they are input.
    pub(crate) fn take<'a>(&mut self, data: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let length = usize::try_from(self.missing)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let (code, input) = data.split_at(length);
        self.missing -= code.len() as u64;
        match &mut self.target {
            Target::Nothing => {}
            Target::Archive(packed) => packed.extend_from_slice(code),
            Target::File(file) => file
                .write_all(code)
                .map_err(|error| refusal::io(format_args!("write {}", self.invoke.entrypoint), &error))?,
        }
        Ok(input)
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Unpacks what has to be, and gives the request back.
    pub(crate) fn finish(self, places: &Places) -> Result<Invoke, Refusal> {
        if let Target::Archive(packed) = self.target {
            archive::unpack(&packed, &places.work)?;
            let entrypoint = places.work.join(&self.invoke.entrypoint);
            if !entrypoint.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let message = format!("the archive has no file '{}' to run", self.invoke.entrypoint);
                return Err(refusal::invalid(message));
            }
        }
        Ok(self.invoke)
    }
}
