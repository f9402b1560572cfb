//! A Dockerfile, carried out.

use std::{collections::BTreeMap, path::PathBuf};

use vulcan_api::{ImageBuild, ImageConfig, ImageName, Problem, ProblemKind};
use vulcan_bus::ImageResult;

use super::{
    dockerfile::{Argument, CommandLine, Copy, Dockerfile, Expanded, Instruction, Stage, expand, parse},
    steps::{Bench, CopyJob, Standing, folders},
};
use crate::image::problem::{problem, refuse};

const SCRATCH: &str = "scratch";
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Values of names.
type Values = BTreeMap<String, String>;

/// What all stages of a file have in common.
struct Plan<'a> {
    file: &'a Dockerfile,
    escape: char,
    build: &'a ImageBuild,
    /// Values of `ARG`s before the first stage, and of those that are always there.
    global: Values,
    /// What each stage stands on, with its values put in.
    bases: Vec<String>,
    /// How many steps are carried out.
    steps: usize,
}

/// A stage being built.
struct Open {
    standing: Standing,
    /// Values of the `ARG`s so far.
    args: Values,
    shell: Vec<String>,
    /// Whether this stage has said what its command is.
    has_command: bool,
}

impl Bench<'_> {
    /// Builds what a Dockerfile says.
    pub(super) async fn dockerfile(&self, build: &ImageBuild) -> ImageResult<Standing> {
        let (file, escape) = parse(&self.context.file)
            .map_err(|error| problem(ProblemKind::ImageBuildFailed, format!("{}: {error}", build.file)))?;
        let mut plan = Plan::new(&file, escape, build)?;
        let last = plan.target()?;
        let needed = plan.needed(last);
        plan.steps = (0..=last)
            .filter(|index| needed[*index])
            .map(|index| file.stages[index].steps.len() + 1)
            .sum();
        for name in build.args.keys().filter(|name| !plan.declares(name)) {
            self.tell(format!("no ARG of {} is called '{name}'", build.file))
                .await;
        }
        let mut done: Vec<Option<Standing>> = vec![None; file.stages.len()];
        let mut at = 0;
        for index in (0..=last).filter(|index| needed[*index]) {
            let standing = self.stage(&plan, index, &done, &mut at).await?;
            done[index] = Some(standing);
        }
        done[last]
            .take()
            .ok_or_else(|| problem(ProblemKind::Internal, "the last stage was not built"))
    }

    async fn stage(
        &self,
        plan: &Plan<'_>,
        index: usize,
        done: &[Option<Standing>],
        at: &mut usize,
    ) -> ImageResult<Standing> {
        let stage = &plan.file.stages[index];
        *at += 1;
        let base = &plan.bases[index];
        self.tell_step(format!("step {at}/{}: FROM {base}", plan.steps))
            .await;
        let standing = match plan.stage_of(base, index) {
            Some(stage) => done[stage].clone().unwrap_or_default(),
            None if base == SCRATCH => Standing::default(),
            None => self
                .base(base)
                .await
                .map_err(|problem| plan.at_line(stage.line, "FROM", problem))?,
        };
        let mut open = Open {
            standing,
            args: Values::new(),
            shell: SHELL.map(str::to_owned).to_vec(),
            has_command: false,
        };
        for step in &stage.steps {
            *at += 1;
            self.tell_step(format!("step {at}/{}: {}", plan.steps, step.text))
                .await;
            self.step(plan, index, (&mut open, done), &step.instruction)
                .await
                .map_err(|problem| plan.at_line(step.line, &step.text, problem))?;
        }
        Ok(open.standing)
    }

    /// Has an image as the base of something.
    pub(super) async fn base(&self, name: &str) -> ImageResult<Standing> {
        if name == SCRATCH {
            return Ok(Standing::default());
        }
        let name: ImageName = name
            .parse()
            .map_err(|error| problem(ProblemKind::ImageBuildFailed, format!("{error}")))?;
        let ready = self.images.ready(&name).await?;
        Ok(Standing {
            layers: ready.layers,
            config: ready.config,
        })
    }

    async fn step(
        &self,
        plan: &Plan<'_>,
        index: usize,
        (open, done): (&mut Open, &[Option<Standing>]),
        instruction: &Instruction,
    ) -> ImageResult<()> {
        match instruction {
            Instruction::Run(line) => {
                let argv = open.argv(line);
                let mut env = open.args.clone();
                env.extend(open.standing.config.env.clone());
                self.run(&mut open.standing, argv, env).await
            }
            Instruction::Copy(copy) => {
                let from = match &copy.from {
                    None => vec![self.context.folder()],
                    Some(from) => {
                        let from = open.expanded(plan, from)?;
                        self.source(plan, index, done, &from).await?
                    }
                };
                let job = open.copy_job(plan, copy, from)?;
                self.copy(&mut open.standing, job).await
            }
            Instruction::Workdir(path) => {
                let path = open.absolute(&open.expanded(plan, path)?);
                self.make_folder(&mut open.standing, &path).await?;
                open.standing.config.working_dir = path;
                Ok(())
            }
            Instruction::Nothing { why } => {
                self.tell(format!("without effect: {why}")).await;
                Ok(())
            }
            Instruction::Env(_)
            | Instruction::Label(_)
            | Instruction::Arg(_)
            | Instruction::User(_)
            | Instruction::Entrypoint(_)
            | Instruction::Cmd(_)
            | Instruction::Shell(_) => open.configure(plan, instruction),
        }
    }

    /// Returns the folders of a former stage, by name or number, or of an image.
    async fn source(
        &self,
        plan: &Plan<'_>,
        index: usize,
        done: &[Option<Standing>],
        from: &str,
    ) -> ImageResult<Vec<PathBuf>> {
        let number = from.parse().ok().filter(|number| *number < index);
        match plan.stage_of(from, index).or(number) {
            Some(stage) => Ok(done[stage]
                .as_ref()
                .map(|standing| folders(&standing.layers))
                .unwrap_or_default()),
            None => Ok(folders(&self.base(from).await?.layers)),
        }
    }
}

impl<'a> Plan<'a> {
    fn new(file: &'a Dockerfile, escape: char, build: &'a ImageBuild) -> ImageResult<Self> {
        let mut plan = Self {
            file,
            escape,
            build,
            global: platform(),
            bases: Vec::new(),
            steps: 0,
        };
        for argument in &file.args {
            let value = plan.value_of(argument, &plan.global)?;
            if let Some(value) = value {
                plan.global.insert(argument.name.clone(), value);
            }
        }
        for stage in &file.stages {
            plan.check_platform(stage)?;
            let base = plan
                .expand(&stage.base, &plan.global)
                .map_err(|problem| plan.at_line(stage.line, "FROM", problem))?;
            if base.is_empty() {
                let why = problem(
                    ProblemKind::ImageBuildFailed,
                    format!("'{}' comes to nothing", stage.base),
                );
                return Err(plan.at_line(stage.line, "FROM", why));
            }
            plan.bases.push(base);
        }
        Ok(plan)
    }

    fn check_platform(&self, stage: &Stage) -> ImageResult<()> {
        let Some(platform) = &stage.platform else {
            return Ok(());
        };
        let wanted = self.expand(platform, &self.global)?;
        let ours = &self.global["BUILDPLATFORM"];
        if wanted == *ours {
            return Ok(());
        }
        let why = format!("this machine is {ours}, and builds nothing for {wanted}");
        Err(self.at_line(stage.line, "FROM", problem(ProblemKind::ImagePlatform, why)))
    }

    fn expand(&self, word: &str, values: &Values) -> ImageResult<String> {
        let expanded: Expanded = expand(word, self.escape, &|name| values.get(name).cloned());
        expanded.map_err(|why| problem(ProblemKind::ImageBuildFailed, why))
    }

    /// Returns what an `ARG` gets: what the build gives, or its default.
    fn value_of(&self, argument: &Argument, values: &Values) -> ImageResult<Option<String>> {
        match (self.build.args.get(&argument.name), &argument.default) {
            (Some(given), _) => Ok(Some(given.clone())),
            (None, Some(default)) => Ok(Some(self.expand(default, values)?)),
            (None, None) => Ok(None),
        }
    }

    fn declares(&self, name: &str) -> bool {
        let in_steps = self
            .file
            .stages
            .iter()
            .flat_map(|stage| &stage.steps)
            .filter_map(|step| match &step.instruction {
                Instruction::Arg(args) => Some(args),
                _ => None,
            });
        std::iter::once(&self.file.args)
            .chain(in_steps)
            .flatten()
            .any(|argument| argument.name == name)
    }

    /// Returns the former stage of a name.
    fn stage_of(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.file.stages[..before]
            .iter()
            .position(|stage| stage.name.as_deref() == Some(&name))
    }

    /// Returns the stage to stop after.
    fn target(&self) -> ImageResult<usize> {
        let last = self.file.stages.len() - 1;
        let Some(target) = &self.build.target else {
            return Ok(last);
        };
        let number = target.parse().ok().filter(|number| *number <= last);
        self.stage_of(target, last + 1).or(number).ok_or_else(|| {
            problem(
                ProblemKind::ImageBuildFailed,
                format!("{} has no stage '{target}'", self.build.file),
            )
        })
    }

    /// Returns which stages the one to stop after is made of.
    fn needed(&self, last: usize) -> Vec<bool> {
        let mut needed = vec![false; self.file.stages.len()];
        needed[last] = true;
        for index in (0..=last).rev() {
            if !needed[index] {
                continue;
            }
            let copied = self.file.stages[index]
                .steps
                .iter()
                .filter_map(|step| match &step.instruction {
                    Instruction::Copy(copy) => copy.from.as_deref(),
                    _ => None,
                });
            let used: Vec<usize> = copied
                .chain([self.bases[index].as_str()])
                .filter_map(|name| {
                    let number = name.parse().ok().filter(|number| *number < index);
                    self.stage_of(name, index).or(number)
                })
                .collect();
            for stage in used {
                needed[stage] = true;
            }
        }
        needed
    }

    fn at_line(&self, line: usize, text: &str, mut problem: Box<Problem>) -> Box<Problem> {
        problem.detail = format!("{}, line {line}, {text}: {}", self.build.file, problem.detail);
        problem
    }
}

impl Open {
    /// Puts values into a word: the image's environment before arguments.
    fn expanded(&self, plan: &Plan<'_>, word: &str) -> ImageResult<String> {
        let mut values = self.args.clone();
        values.extend(self.standing.config.env.clone());
        plan.expand(word, &values)
    }

    fn pairs(&self, plan: &Plan<'_>, pairs: &[(String, String)]) -> ImageResult<Vec<(String, String)>> {
        pairs
            .iter()
            .map(|(name, value)| Ok((self.expanded(plan, name)?, self.expanded(plan, value)?)))
            .collect()
    }

    /// Does what only changes what the image says of itself.
    fn configure(&mut self, plan: &Plan<'_>, instruction: &Instruction) -> ImageResult<()> {
        match instruction {
            Instruction::Env(pairs) => {
                let pairs = self.pairs(plan, pairs)?;
                self.standing.config.env.extend(pairs);
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(plan, pairs)?;
                self.standing.config.labels.extend(pairs);
            }
            Instruction::Arg(args) => {
                for argument in args {
                    let mut values = self.args.clone();
                    values.extend(self.standing.config.env.clone());
                    let value = plan.value_of(argument, &values)?;
                    let value = value.or_else(|| plan.global.get(&argument.name).cloned());
                    if let Some(value) = value {
                        self.args.insert(argument.name.clone(), value);
                    }
                }
            }
            Instruction::User(user) => self.standing.config.user = self.expanded(plan, user)?,
            Instruction::Entrypoint(line) => {
                let argv = self.argv(line);
                let config: &mut ImageConfig = &mut self.standing.config;
                config.entrypoint = argv;
                // A command of the base was meant for the base's entrypoint.
                if !self.has_command {
                    config.command.clear();
                }
            }
            Instruction::Cmd(line) => {
                self.standing.config.command = self.argv(line);
                self.has_command = true;
            }
            Instruction::Shell(shell) => self.shell.clone_from(shell),
            Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Workdir(_)
            | Instruction::Nothing { .. } => {}
        }
        Ok(())
    }

    fn argv(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(argv) => argv.clone(),
            CommandLine::Shell(text) => self.shell.iter().chain([text]).cloned().collect(),
        }
    }

    /// Returns a path of the image, from the working directory where it is relative.
    fn absolute(&self, path: &str) -> String {
        let joined = PathBuf::from("/")
            .join(&self.standing.config.working_dir)
            .join(path);
        let mut clean = PathBuf::from("/");
        for part in joined.components() {
            match part {
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                std::path::Component::Normal(name) => clean.push(name),
                _ => {}
            }
        }
        clean.to_string_lossy().into_owned()
    }

    fn copy_job(&self, plan: &Plan<'_>, copy: &Copy, from: Vec<PathBuf>) -> ImageResult<CopyJob> {
        let expand = |word: &String| self.expanded(plan, word);
        let to = expand(&copy.to)?;
        if to.is_empty() {
            return refuse(
                ProblemKind::ImageBuildFailed,
                format!("'{}' comes to nothing", copy.to),
            );
        }
        let patterns = copy.sources.iter().map(expand).collect::<ImageResult<Vec<_>>>()?;
        Ok(CopyJob {
            from,
            is_folder: to.ends_with('/') || to.ends_with("/.") || to == "." || patterns.len() > 1,
            patterns,
            to: self.absolute(&to).into(),
            keeps_owner: copy.from.is_some(),
            owner: copy.chown.as_ref().map(expand).transpose()?,
            mode: copy.chmod.as_ref().map(expand).transpose()?,
            unpacks: copy.unpacks,
        })
    }
}

/// Returns the arguments that are always there: what is built for, and where.
fn platform() -> Values {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    ["TARGET", "BUILD"]
        .into_iter()
        .flat_map(|which| {
            [
                (format!("{which}PLATFORM"), format!("linux/{arch}")),
                (format!("{which}OS"), "linux".to_owned()),
                (format!("{which}ARCH"), arch.to_owned()),
            ]
        })
        .collect()
}
