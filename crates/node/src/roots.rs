//! What a workload stands on: the image that it names, or the node's default for its runtime.

use std::{collections::BTreeMap, sync::Arc};

use vulcan_api::{
    Code, ErrorCode, ImageConfig, ImageName, ImageProgram, Program, Runtime, RuntimeInfo, WorkloadError,
};
use vulcan_backend::{Backend, Root, RootForm};

use crate::{image::Ready, node::Node, pool::DefaultRoots};

impl Node {
    /// Has what a program stands on; `None` where the class needs nothing. An image that is not here is pulled. May be dropped
    /// at any time.
    ///
    /// # Errors
    ///
    /// What the workload's owner is told.
    pub(crate) async fn stand(
        &self,
        backend: &dyn Backend,
        runtime: Runtime,
        image: Option<&ImageName>,
    ) -> Result<Option<Ready>, WorkloadError> {
        match backend.capabilities().root {
            RootForm::Own => return Ok(None),
            RootForm::Layers => {}
        }
        let Some(name) = image.or_else(|| self.images.default_of(runtime)) else {
            let message = format!("runtime {runtime} has no default image: name one in the request");
            return Err(WorkloadError::new(ErrorCode::ImageUnavailable, message));
        };
        match self.images.ready(name).await {
            Ok(ready) => Ok(Some(ready)),
            Err(problem) => Err(WorkloadError::new(ErrorCode::ImageUnavailable, problem.detail)),
        }
    }

    /// Returns the default images that are here.
    pub(crate) async fn default_roots(&self) -> DefaultRoots {
        let mut roots: DefaultRoots = BTreeMap::new();
        for runtime in Runtime::ALL {
            if let Some(name) = self.images.default_of(runtime)
                && self.images.find(name).is_some()
                && let Ok(ready) = self.images.ready(name).await
            {
                roots.insert(runtime, ready.root);
            }
        }
        roots
    }

    /// Says what a class that stands on images can run: what its default images are here for, and any image.
    pub(crate) fn runtimes_on_images(&self, of_class: Vec<RuntimeInfo>) -> Vec<RuntimeInfo> {
        let on_image = |info: RuntimeInfo| {
            let Some(name) = self.images.default_of(info.runtime) else {
                return info;
            };
            let image = self.images.find(name);
            // What the class itself lacks comes first.
            let mut packages = info.packages;
            if image.is_none() {
                packages.push(format!("{}{name}", RuntimeInfo::IMAGE));
            }
            RuntimeInfo {
                runtime: info.runtime,
                available: info.available && image.is_some(),
                detail: match image {
                    Some(_) if !info.available => info.detail,
                    Some(image) => format!("{name}, {} MiB", image.unpacked_bytes >> 20),
                    None => format!("its image {name} is not here"),
                },
                packages,
            }
        };
        of_class.into_iter().map(on_image).collect()
    }
}

/// Fills in what a program leaves to its image.
///
/// Of a command in an image, as Kubernetes has it: a `command` replaces the entrypoint and the default arguments, and arguments
/// alone replace the default arguments. Of code, the image's environment, below the workload's own.
///
/// # Errors
///
/// When there is nothing to run.
pub(crate) fn complete(program: Program, config: &ImageConfig) -> Result<Program, WorkloadError> {
    let mut env = config.env.clone();
    env.extend(program.env);
    let (code, args) = match program.code {
        Code::Image(asked) => {
            let is_named = !asked.argv.is_empty();
            let argv = if is_named {
                asked.argv
            } else {
                config.entrypoint.clone()
            };
            let args = if is_named || !program.args.is_empty() {
                program.args
            } else {
                config.command.clone()
            };
            if argv.is_empty() && args.is_empty() {
                let message = "the image does not say which program to run: give a command";
                return Err(WorkloadError::new(ErrorCode::ImageUnavailable, message));
            }
            let or = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
            let working_dir = match or(asked.working_dir, &config.working_dir) {
                empty if empty.is_empty() => "/".to_owned(),
                path => path,
            };
            let program = ImageProgram {
                argv,
                working_dir,
                user: or(asked.user, &config.user),
            };
            env.entry("PATH".to_owned())
                .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
            (Code::Image(program), args)
        }
        code @ (Code::File { .. } | Code::Archive { .. }) => (code, program.args),
    };
    Ok(Program {
        code,
        args,
        env,
        ..program
    })
}

/// Returns the root of what a workload stands on.
pub(crate) fn root_of(ready: Option<&Ready>) -> Option<Arc<Root>> {
    ready.map(|ready| Arc::clone(&ready.root))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn completed(command: &str, args: &str, config: &ImageConfig) -> String {
        let program = Program {
            runtime: Runtime::Image,
            image: None,
            code: Code::Image(ImageProgram {
                argv: words(command),
                ..ImageProgram::default()
            }),
            input: Bytes::from_static(b"null"),
            args: words(args),
            env: BTreeMap::from([("A".to_owned(), "own".to_owned())]),
        };
        match complete(program, config) {
            Ok(Program {
                code: Code::Image(program),
                args,
                ..
            }) => {
                let argv: Vec<String> = program.argv.into_iter().chain(args).collect();
                format!(
                    "{} in {} as '{}'",
                    argv.join(" "),
                    program.working_dir,
                    program.user
                )
            }
            Ok(_) => "another form of code".to_owned(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn a_command_and_arguments_replace_what_they_replace_in_kubernetes() {
        let config = ImageConfig {
            entrypoint: words("/entry -e"),
            command: words("default args"),
            working_dir: "/srv".to_owned(),
            user: "app".to_owned(),
            ..ImageConfig::default()
        };
        let table = [("", ""), ("", "mine"), ("sh -c", ""), ("sh -c", "mine")]
            .map(|(command, args)| completed(command, args, &config));
        assert_eq!(
            table,
            [
                "/entry -e default args in /srv as 'app'",
                "/entry -e mine in /srv as 'app'",
                "sh -c in /srv as 'app'",
                "sh -c mine in /srv as 'app'",
            ]
        );
    }

    #[test]
    fn an_image_that_names_no_program_needs_a_command() {
        let nothing = ImageConfig::default();
        assert_eq!(
            completed("", "", &nothing),
            "the image does not say which program to run: give a command"
        );
        assert_eq!(completed("true", "", &nothing), "true in / as ''");
        assert_eq!(completed("", "true", &nothing), "true in / as ''");
    }

    #[test]
    fn the_workloads_own_variables_count_more_than_the_images() {
        let config = ImageConfig {
            env: [("A", "image"), ("B", "image")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..ImageConfig::default()
        };
        let program = Program {
            runtime: Runtime::Python,
            image: None,
            code: Code::File {
                name: "main.py".to_owned(),
                bytes: Bytes::new(),
            },
            input: Bytes::from_static(b"null"),
            args: Vec::new(),
            env: BTreeMap::from([("A".to_owned(), "own".to_owned())]),
        };
        let env = complete(program, &config).map(|program| program.env);
        let expected =
            [("A", "own"), ("B", "image")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(env.ok(), Some(expected.into()));
    }
}
