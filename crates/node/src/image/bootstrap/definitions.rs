//! What the platform's own images are made of.

use std::collections::BTreeMap;

use vulcan_api::ImageConfig;

/// One of the images.
pub(super) struct Definition {
    /// Its repository; the tag is `latest`.
    pub(super) name: &'static str,
    /// Packages that its own layer is made of, with what they depend on.
    pub(super) packages: &'static [&'static str],
    /// Packages that something depends on and nothing in the image needs.
    pub(super) pretended: &'static [&'static str],
    /// What it runs where nobody says otherwise.
    pub(super) command: &'static str,
    /// Patterns of files and folders of the packages that a program has no use for.
    pub(super) removed: &'static [&'static str],
}

/// The image that the others stand on.
pub(super) const MINIMAL: Definition = Definition {
    name: "vulcan/minimal",
    packages: &[
        "base-files",
        "bash",
        "ca-certificates",
        "coreutils",
        "dash",
        "debianutils",
        "diffutils",
        "findutils",
        "grep",
        "gzip",
        "hostname",
        "libc-bin",
        "mawk",
        "netbase",
        "sed",
        "tar",
        "tzdata",
    ],
    // It would make the file of all certificates, which the tree gets here.
    pretended: &["openssl"],
    command: "bash",
    removed: &[],
};

/// The others.
pub(super) const RUNTIMES: [Definition; 3] = [
    Definition {
        name: "vulcan/python",
        packages: &["python3", "python3-venv"],
        pretended: &["openssl"],
        command: "python3",
        removed: &["usr/share/lintian", "usr/share/python3/debpython"],
    },
    Definition {
        name: "vulcan/node",
        packages: &["nodejs", "esbuild"],
        pretended: &[],
        command: "node",
        removed: &[],
    },
    Definition {
        name: "vulcan/go",
        packages: &["golang-go"],
        pretended: &[],
        command: "bash",
        // Tests, the compiler as a library, and tools that look at what ran: more than a third of it.
        removed: &[
            "usr/share/go-*/api",
            "usr/share/go-*/misc",
            "usr/share/go-*/test",
            "usr/share/go-*/src/**/testdata",
            "usr/share/go-*/src/**/*_test.go",
            "usr/lib/go-*/pkg/linux_*/cmd",
            "usr/lib/go-*/pkg/tool/*/pprof",
            "usr/lib/go-*/pkg/tool/*/trace",
        ],
    },
];

impl Definition {
    /// What the image says of its program. Root of the instance by default, as everybody expects of a base that is built on;
    /// `vulcan` (1000) is there for a `USER`.
    pub(super) fn config(&self) -> ImageConfig {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        ImageConfig {
            env: BTreeMap::from([
                ("PATH".to_owned(), path.to_owned()),
                ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ]),
            command: vec![self.command.to_owned()],
            working_dir: "/work".to_owned(),
            ..ImageConfig::default()
        }
    }
}
