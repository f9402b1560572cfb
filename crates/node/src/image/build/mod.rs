//! Builds: an image out of a recipe or a Dockerfile, and a context.

mod dockerfile;
