//! How values of each kind are read from text and written back.

use std::{collections::BTreeMap, fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use vulcan_api::{ImageName, IsolationClass, Runtime};
use vulcan_backend_oci::{ContainerRuntime, Platform};
use vulcan_node::BlankName;

use super::images;
use crate::units;

/// One way of writing a `T`.
pub(super) trait Form<T> {
    /// Reads it; the error says what is allowed.
    fn read(text: &str) -> Result<T, String>;
    /// Writes it the way `read` reads it.
    fn write(value: &T) -> String;
}

/// A number as it stands.
pub(super) struct Number;
/// A size in bytes, with its unit.
pub(super) struct Size;
/// A size in whole MiB, with its unit.
pub(super) struct Mebibytes;
/// A duration with its unit.
pub(super) struct Time;
/// A path.
pub(super) struct FilePath;
/// Absolute paths, separated by colons; an empty text is none.
pub(super) struct Paths;
/// Names, separated by commas; an empty text is none.
pub(super) struct Names;
/// A text that its type checks.
pub(super) struct Word;
/// The same, and an empty text is none.
pub(super) struct MaybeWord;

/// `true` or `false`.
pub(super) struct Switch;
/// A share of a whole, from 0 to 100.
pub(super) struct Percent;
/// Kinds of instances, as `isolate:node`, separated by commas; an empty text is none.
pub(super) struct Kinds;

/// A number, or `auto` for the room's own default.
pub(super) struct OwnNumber;
/// A duration with its unit, in whole seconds.
pub(super) struct Seconds;
/// Images by runtime, as `python=vulcan/python`, separated by commas; an empty text is none.
pub(super) struct Defaults;

macro_rules! numbers {
    ($($number:ty: $allowed:literal),+) => {$(
        impl Form<$number> for Number {
            fn read(text: &str) -> Result<$number, String> {
                text.parse().map_err(|_| format!("'{text}' is not {}", $allowed))
            }
            fn write(value: &$number) -> String {
                value.to_string()
            }
        }
    )+};
}
numbers!(u32: "a whole number below 2^32", u64: "a whole number", usize: "a whole number");

impl Form<f64> for Number {
    fn read(text: &str) -> Result<f64, String> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            Ok(_) | Err(_) => Err(format!("'{text}' is not a number of 0 or more")),
        }
    }
    fn write(value: &f64) -> String {
        value.to_string()
    }
}

impl Form<u64> for Size {
    fn read(text: &str) -> Result<u64, String> {
        units::size(text)
    }
    fn write(value: &u64) -> String {
        units::size_text(*value)
    }
}

impl Form<usize> for Size {
    fn read(text: &str) -> Result<usize, String> {
        usize::try_from(units::size(text)?)
            .map_err(|_| format!("'{text}' is more than this machine can address"))
    }
    fn write(value: &usize) -> String {
        units::size_text(*value as u64)
    }
}

impl Form<Option<u64>> for Size {
    fn read(text: &str) -> Result<Option<u64>, String> {
        if text == "none" {
            return Ok(None);
        }
        units::size(text)
            .map(Some)
            .map_err(|error| format!("{error}, or none"))
    }
    fn write(value: &Option<u64>) -> String {
        value.map_or_else(|| "none".to_owned(), units::size_text)
    }
}

impl Form<u32> for Mebibytes {
    fn read(text: &str) -> Result<u32, String> {
        u32::try_from(<Self as Form<u64>>::read(text)?).map_err(|_| format!("'{text}' is too large"))
    }
    fn write(value: &u32) -> String {
        <Self as Form<u64>>::write(&u64::from(*value))
    }
}

impl Form<u64> for Mebibytes {
    fn read(text: &str) -> Result<u64, String> {
        let bytes = units::size(text)?;
        if !bytes.is_multiple_of(1 << 20) {
            return Err(format!("'{text}' is not a multiple of 1MiB"));
        }
        Ok(bytes >> 20)
    }
    fn write(value: &u64) -> String {
        units::size_text(value << 20)
    }
}

impl Form<Duration> for Time {
    fn read(text: &str) -> Result<Duration, String> {
        units::duration(text)
    }
    fn write(value: &Duration) -> String {
        units::duration_text(*value)
    }
}

/// Seconds as the wire has them.
impl Form<f64> for Time {
    fn read(text: &str) -> Result<f64, String> {
        units::duration(text).map(|duration| duration.as_secs_f64())
    }
    fn write(value: &f64) -> String {
        units::duration_text(Duration::try_from_secs_f64(*value).unwrap_or_default())
    }
}

impl Form<Option<u32>> for OwnNumber {
    fn read(text: &str) -> Result<Option<u32>, String> {
        if text == "auto" {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_| format!("'{text}' is neither a whole number below 2^32 nor auto"))
    }
    fn write(value: &Option<u32>) -> String {
        value.map_or_else(|| "auto".to_owned(), |number| number.to_string())
    }
}

impl Form<u64> for Seconds {
    fn read(text: &str) -> Result<u64, String> {
        let duration = units::duration(text)?;
        if duration.subsec_nanos() != 0 {
            return Err(format!("'{text}' is not a multiple of 1s"));
        }
        Ok(duration.as_secs())
    }
    fn write(value: &u64) -> String {
        units::duration_text(Duration::from_secs(*value))
    }
}

impl Form<BTreeMap<String, ImageName>> for Defaults {
    fn read(text: &str) -> Result<BTreeMap<String, ImageName>, String> {
        images::read_defaults(text)
    }
    fn write(value: &BTreeMap<String, ImageName>) -> String {
        images::write_defaults(value)
    }
}

impl Form<PathBuf> for FilePath {
    fn read(text: &str) -> Result<PathBuf, String> {
        let path = <Self as Form<Option<PathBuf>>>::read(text)?;
        path.ok_or_else(|| "a path is needed".to_owned())
    }
    fn write(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

impl Form<ContainerRuntime> for Word {
    fn read(text: &str) -> Result<ContainerRuntime, String> {
        named(text, &CONTAINER_RUNTIMES)
    }
    fn write(value: &ContainerRuntime) -> String {
        name_of(value, &CONTAINER_RUNTIMES)
    }
}

impl Form<Platform> for Word {
    fn read(text: &str) -> Result<Platform, String> {
        named(text, &PLATFORMS)
    }
    fn write(value: &Platform) -> String {
        name_of(value, &PLATFORMS)
    }
}

const CONTAINER_RUNTIMES: [(&str, ContainerRuntime); 3] = [
    ("any", ContainerRuntime::Any),
    ("crun", ContainerRuntime::Crun),
    ("runc", ContainerRuntime::Runc),
];
const PLATFORMS: [(&str, Platform); 2] = [("systrap", Platform::Systrap), ("kvm", Platform::Kvm)];

fn named<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        format!("'{text}' is not one of {}", names.join(", "))
    })
}

fn name_of<T: PartialEq>(value: &T, all: &[(&str, T)]) -> String {
    let found = all.iter().find(|(_, known)| known == value);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}

impl Form<Option<PathBuf>> for FilePath {
    fn read(text: &str) -> Result<Option<PathBuf>, String> {
        if text.is_empty() {
            return Err("a path must not be empty".to_owned());
        }
        Ok(Some(PathBuf::from(text)))
    }
    fn write(value: &Option<PathBuf>) -> String {
        value
            .as_deref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }
}

impl Form<Vec<PathBuf>> for Paths {
    fn read(text: &str) -> Result<Vec<PathBuf>, String> {
        let paths = text.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
        paths
            .map(|path| match path.is_absolute() {
                true => Ok(path),
                false => Err(format!("'{}' is not an absolute path", path.display())),
            })
            .collect()
    }
    fn write(value: &Vec<PathBuf>) -> String {
        let paths: Vec<String> = value.iter().map(|path| path.display().to_string()).collect();
        paths.join(":")
    }
}

impl Form<Vec<String>> for Names {
    fn read(text: &str) -> Result<Vec<String>, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }
    fn write(value: &Vec<String>) -> String {
        value.join(",")
    }
}

impl Form<bool> for Switch {
    fn read(text: &str) -> Result<bool, String> {
        text.parse()
            .map_err(|_| format!("'{text}' is neither true nor false"))
    }
    fn write(value: &bool) -> String {
        value.to_string()
    }
}

impl Form<u32> for Percent {
    fn read(text: &str) -> Result<u32, String> {
        let percent = text.parse().ok().filter(|percent| *percent <= 100);
        percent.ok_or_else(|| format!("'{text}' is not a whole number from 0 to 100"))
    }
    fn write(value: &u32) -> String {
        value.to_string()
    }
}

impl Form<Vec<BlankName>> for Kinds {
    fn read(text: &str) -> Result<Vec<BlankName>, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(kind).collect()
    }
    fn write(value: &Vec<BlankName>) -> String {
        let names: Vec<String> = value
            .iter()
            .map(|name| format!("{}:{}", name.isolation, name.runtime))
            .collect();
        names.join(",")
    }
}

fn kind(name: &str) -> Result<BlankName, String> {
    let Some((isolation, runtime)) = name.split_once(':') else {
        return Err(format!(
            "'{name}' is not a kind of instance: write a class of isolation, a colon and a runtime, for example sandbox:python"
        ));
    };
    Ok(BlankName {
        isolation: class(isolation)?,
        runtime: runtime.parse::<Runtime>()?,
    })
}

fn class(text: &str) -> Result<IsolationClass, String> {
    IsolationClass::ALL
        .into_iter()
        .find(|class| class.as_str() == text)
        .ok_or_else(|| {
            let names = IsolationClass::ALL.map(IsolationClass::as_str).join(", ");
            format!("'{text}' is not a class of isolation: use one of {names}")
        })
}

impl Form<IsolationClass> for Word {
    fn read(text: &str) -> Result<IsolationClass, String> {
        class(text)
    }
    fn write(value: &IsolationClass) -> String {
        value.as_str().to_owned()
    }
}

impl Form<ImageName> for Word {
    fn read(text: &str) -> Result<ImageName, String> {
        text.parse().map_err(|error| format!("{error}"))
    }
    fn write(value: &ImageName) -> String {
        value.to_string()
    }
}

impl Form<String> for Word {
    fn read(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
    fn write(value: &String) -> String {
        value.clone()
    }
}

impl<T: FromStr<Err: Display> + Display> Form<Option<T>> for MaybeWord {
    fn read(text: &str) -> Result<Option<T>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error: T::Err| error.to_string())
    }
    fn write(value: &Option<T>) -> String {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}
