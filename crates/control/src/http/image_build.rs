//! `POST /v1/images/build`.

use std::collections::BTreeMap;

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use vulcan_api::{ImageBuild, ImageEvent, Problem};
use vulcan_bus::ImageMaking;

use super::{
    image_events, image_upload,
    parameters::{Repeated, invalid},
};
use crate::{
    app::{Refused, relative_path},
    service::Handle,
};

/// The file that is built from where none is named.
const FILE_DEFAULT: &str = "Dockerfile";

/// Builds an image from a recipe or a Dockerfile. The body is the context: a tar archive, with gzip or without.
///
/// Each line of the answer is an event; the last one is `done` or `failed`. Lines may be empty, as a sign of life. When the
/// caller goes away, the build ends; the steps that were done are kept for the next one.
#[utoipa::path(
    post,
    path = "/v1/images/build",
    operation_id = "image_build",
    tag = "images",
    params(
        ("name" = String, Query, description = "What the image is to be called"),
        ("file" = Option<String>, Query, description = "The recipe (its name ends with vulcan.toml) or Dockerfile in the context; Dockerfile where it is left out"),
        ("target" = Option<String>, Query, description = "The stage to stop after; the last one where it is left out"),
        ("no_cache" = Option<bool>, Query, description = "Whether to run every step, also those whose result is kept"),
        ("arg" = Option<Vec<String>>, Query, description = "A value of an ARG of the file, as NAME=VALUE; may be given several times"),
    ),
    request_body(content = Vec<u8>, content_type = "application/x-tar", description = "The context"),
    responses(
        (status = 200, description = "It has begun: one event per line", body = ImageEvent, content_type = "application/x-ndjson"),
        (status = "4XX", description = "It was refused, or failed before anything could be told", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "The node does not answer, or has no room", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    parameters: Repeated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let build = build(parameters)?;
    let upload = image_upload::begin(&handle, &headers, body)?;
    let how = ImageMaking::Build {
        build,
        context: upload.pieces,
    };
    let making = handle.service.image_make(how, Some(upload.fault)).await?;
    Ok(image_events::answer(making))
}

fn build(parameters: Repeated) -> Result<ImageBuild, Refused> {
    let (given, parameters) = parameters.take("arg")?;
    let parameters = parameters.only(&["name", "file", "target", "no_cache", "arg"])?;
    let name = parameters.image_name("name")?;
    let name = name.ok_or_else(|| invalid("name", None, "needed: what the image is to be called"))?;
    let file = parameters.text("file").unwrap_or(FILE_DEFAULT);
    let file = relative_path(file).map_err(|rule| invalid("file", Some(file), &rule))?;
    let mut args = BTreeMap::new();
    for arg in given {
        let (key, value) = arg
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| invalid("arg", Some(&arg), "NAME=VALUE"))?;
        if args.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid("arg", Some(key), "each name once"));
        }
    }
    Ok(ImageBuild {
        name,
        file,
        args,
        target: parameters.text("target").map(str::to_owned),
        no_cache: parameters.flag("no_cache", false)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(pairs: &[(&str, &str)]) -> Result<ImageBuild, String> {
        let pairs = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        build(Repeated::of(pairs.collect())).map_err(|refused| {
            let problem = refused.into_problem();
            format!("{} {}", problem.slug(), problem.errors[0].field)
        })
    }

    #[test]
    fn a_build_is_said_in_parameters() {
        let parameters = [
            ("name", "app:1"),
            ("arg", "A=1=2"),
            ("file", "./docker//web.Dockerfile"),
            ("arg", "B="),
            ("target", "run"),
            ("no_cache", "true"),
        ];
        assert_eq!(
            built(&parameters),
            Ok(ImageBuild {
                name: "app:1".parse().unwrap(),
                file: "docker/web.Dockerfile".to_owned(),
                args: [("A", "1=2"), ("B", "")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                target: Some("run".to_owned()),
                no_cache: true,
            })
        );
        assert_eq!(built(&[("name", "app")]).unwrap().file, "Dockerfile");
    }

    #[test]
    fn a_bad_parameter_is_told_by_its_name() {
        let name = ("name", "app");
        let table: [(&[(&str, &str)], &str); 8] = [
            (&[], "invalid-parameter name"),
            (&[("name", "App")], "invalid-parameter name"),
            (&[name, name], "invalid-parameter name"),
            (&[name, ("file", "../x")], "invalid-parameter file"),
            (&[name, ("arg", "=1")], "invalid-parameter arg"),
            (&[name, ("arg", "A=1"), ("arg", "A=2")], "invalid-parameter arg"),
            (&[name, ("no_cache", "yes")], "invalid-parameter no_cache"),
            (&[name, ("tag", "x")], "invalid-parameter tag"),
        ];
        for (pairs, expected) in table {
            assert_eq!(built(pairs), Err(expected.to_owned()), "{pairs:?}");
        }
    }
}
