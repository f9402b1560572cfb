//! What a module may have, checked before the compiler sees it: its time and memory grow with these.

use std::time::Duration;

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use crate::ModuleLimits;

/// What the compiler was seen to take on a processor of 2023, in nanoseconds: for each byte of code, for each pair of loops
/// of a function, for each pair of its blocks, and for each local in each block. See `bombs` in the tests.
const BYTE_NS: u64 = 1_000;
const LOOPS_NS: u64 = 50;
const BLOCKS_NS: u64 = 3;
const LOCALS_NS: u64 = 100;

/// Counts while a module is read.
#[derive(Debug, Default)]
struct Counted {
    code_bytes: usize,
    functions: u32,
    types: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    imports: u32,
    exports: u32,
    data: u32,
    elements: u32,
    nested: u32,
    effort_ns: u64,
}

/// Checks a module or a component, the modules inside of it included. Says nothing of whether it is valid.
///
/// # Errors
///
/// What is too large, and the limit, in words.
pub(super) fn check(binary: &[u8], limits: &ModuleLimits) -> Result<(), String> {
    most("bytes", binary.len(), limits.bytes)?;
    let mut counted = Counted::default();
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload.map_err(unread)?;
        counted.payload(&payload, limits)?;
    }
    Ok(())
}

impl Counted {
    fn payload(&mut self, payload: &Payload<'_>, limits: &ModuleLimits) -> Result<(), String> {
        match payload {
            Payload::TypeSection(section) => self.types(section, limits),
            Payload::ComponentTypeSection(section) => {
                add("types", &mut self.types, section.count(), limits.types)
            }
            Payload::CoreTypeSection(section) => add("types", &mut self.types, section.count(), limits.types),
            Payload::ImportSection(section) => {
                add("imports", &mut self.imports, section.count(), limits.imports)
            }
            Payload::ComponentImportSection(section) => {
                add("imports", &mut self.imports, section.count(), limits.imports)
            }
            Payload::FunctionSection(section) => add(
                "functions",
                &mut self.functions,
                section.count(),
                limits.functions,
            ),
            Payload::TableSection(section) => self.tables(section, limits),
            Payload::MemorySection(section) => {
                add("memories", &mut self.memories, section.count(), limits.memories)
            }
            Payload::GlobalSection(section) => {
                add("globals", &mut self.globals, section.count(), limits.globals)
            }
            Payload::ExportSection(section) => {
                add("exports", &mut self.exports, section.count(), limits.exports)
            }
            Payload::ComponentExportSection(section) => {
                add("exports", &mut self.exports, section.count(), limits.exports)
            }
            Payload::ElementSection(section) => add(
                "element segments",
                &mut self.elements,
                section.count(),
                limits.segments,
            ),
            Payload::DataSection(section) => {
                add("data segments", &mut self.data, section.count(), limits.segments)
            }
            Payload::CodeSectionEntry(body) => self.function(body, limits),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                add("modules and components", &mut self.nested, 1, limits.nested)
            }
            _ => Ok(()),
        }
    }

    fn tables(
        &mut self,
        section: &wasmparser::TableSectionReader<'_>,
        limits: &ModuleLimits,
    ) -> Result<(), String> {
        add("tables", &mut self.tables, section.count(), limits.tables)?;
        for table in section.clone() {
            let table = table.map_err(unread)?;
            most("entries in one table", table.ty.initial, limits.table_entries)?;
        }
        Ok(())
    }

    fn types(
        &mut self,
        section: &wasmparser::TypeSectionReader<'_>,
        limits: &ModuleLimits,
    ) -> Result<(), String> {
        add("types", &mut self.types, section.count(), limits.types)?;
        for group in section.clone() {
            for kind in group.map_err(unread)?.types() {
                if let wasmparser::CompositeInnerType::Func(function) = &kind.composite_type.inner {
                    let longest = function.params().len().max(function.results().len());
                    let longest = u32::try_from(longest).unwrap_or(u32::MAX);
                    most("parameters or results in one type", longest, limits.parameters)?;
                }
            }
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'_>, limits: &ModuleLimits) -> Result<(), String> {
        let len = body.range().len();
        most("bytes in one function", len, limits.function_bytes)?;
        self.code_bytes += len;
        most("bytes of code", self.code_bytes, limits.code_bytes)?;
        let locals = locals(body, limits)?;
        let (loops, blocks) = shape(body).map_err(unread)?;
        most("loops in one function", loops, limits.loops)?;
        most("blocks in one function", blocks, limits.blocks)?;
        let (loops, blocks) = (u64::from(loops), u64::from(blocks));
        let locals_by_blocks = u64::from(locals + limits.parameters) * blocks;
        most(
            "locals times blocks in one function",
            locals_by_blocks,
            limits.locals_by_blocks,
        )?;
        self.effort_ns += len as u64 * BYTE_NS
            + loops * loops * LOOPS_NS
            + blocks * blocks * BLOCKS_NS
            + locals_by_blocks * LOCALS_NS;
        let effort = Duration::from_nanos(self.effort_ns);
        if effort > limits.effort {
            return Err(format!(
                "compiling it would take longer than {:?}, by its size, loops, blocks and locals",
                limits.effort
            ));
        }
        Ok(())
    }
}

fn locals(body: &FunctionBody<'_>, limits: &ModuleLimits) -> Result<u32, String> {
    let mut locals: u32 = 0;
    for group in body.get_locals_reader().map_err(unread)? {
        let (count, _) = group.map_err(unread)?;
        locals = locals.saturating_add(count);
        most("locals in one function", locals, limits.locals)?;
    }
    Ok(locals)
}

/// Counts the loops of a function, and all its blocks.
fn shape(body: &FunctionBody<'_>) -> Result<(u32, u32), BinaryReaderError> {
    let (mut loops, mut blocks) = (0, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Loop { .. } => {
                loops += 1;
                blocks += 1;
            }
            Operator::Block { .. } | Operator::If { .. } | Operator::Else => blocks += 1,
            _ => {}
        }
    }
    Ok((loops, blocks))
}

fn unread(error: impl std::fmt::Display) -> String {
    format!("it cannot be read: {error}")
}

fn add(what: &str, counted: &mut u32, more: u32, limit: u32) -> Result<(), String> {
    *counted = counted.saturating_add(more);
    most(what, *counted, limit)
}

fn most<T: Copy + PartialOrd + std::fmt::Display>(what: &str, counted: T, limit: T) -> Result<(), String> {
    if counted > limit {
        return Err(format!("it has {counted} {what}; the most is {limit}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Result<(), String> {
        let limits = ModuleLimits {
            bytes: 10_000,
            code_bytes: 300,
            function_bytes: 200,
            functions: 3,
            locals: 10,
            parameters: 4,
            loops: 5,
            blocks: 9,
            locals_by_blocks: 60,
            effort: Duration::from_micros(280),
            types: 3,
            tables: 1,
            table_entries: 100,
            memories: 1,
            globals: 2,
            imports: 2,
            exports: 2,
            segments: 2,
            nested: 1,
        };
        check(&wat::parse_str(text).unwrap(), &limits)
    }

    #[test]
    fn every_limit_is_kept_and_named() {
        let many = |text: &str, count: usize| text.repeat(count);
        let cases = [
            (format!("(module (memory 1) (data \"{}\"))", many("x", 10_000)), "bytes"),
            (format!("(module (func {}))", many("nop ", 201)), "bytes in one function"),
            (
                format!("(module {})", many(&format!("(func {}) ", many("nop ", 150)), 3)),
                "bytes of code",
            ),
            (format!("(module {})", many("(func) ", 4)), "functions"),
            (format!("(module (func (local {})))", many("i32 ", 11)), "locals in one function"),
            ("(module (type (func)) (type (func (param i32))) (type (func (param i64))) (type (func (param f32))))".to_owned(), "types"),
            ("(module (func (param i32 i32 i32 i32 i32)))".to_owned(), "parameters or results in one type"),
            (format!("(module (func {}))", many("loop end ", 6)), "loops in one function"),
            (format!("(module (func {}))", many("block end ", 10)), "blocks in one function"),
            (format!("(module (func (local i32 i32 i32 i32) {}))", many("block end ", 8)), "locals times blocks in one function"),
            ("(module (table 1 funcref) (table 1 funcref))".to_owned(), "tables"),
            ("(module (table 101 funcref))".to_owned(), "entries in one table"),
            ("(module (memory 1) (memory 1))".to_owned(), "memories"),
            (format!("(module {})", many("(global i32 (i32.const 0)) ", 3)), "globals"),
            (format!("(module {})", many("(import \"a\" \"b\" (func)) ", 3)), "imports"),
            ("(module (memory 1) (export \"a\" (memory 0)) (export \"b\" (memory 0)) (export \"c\" (memory 0)))".to_owned(), "exports"),
            (format!("(module (memory 1) {})", many("(data \"x\") ", 3)), "data segments"),
            (format!("(module (func $f) {})", many("(elem func $f) ", 3)), "element segments"),
            ("(component (core module) (core module))".to_owned(), "modules and components"),
        ];
        for (text, what) in cases {
            let problem = problem(&text).expect_err(what);
            assert!(
                problem.contains(&format!(" {what}; the most is ")),
                "{what}: {problem}"
            );
        }
    }

    #[test]
    fn what_is_hard_on_the_compiler_is_counted_together() {
        let limits = ModuleLimits {
            effort: Duration::from_micros(100),
            ..ModuleLimits::default()
        };
        let hard = format!(
            "(func {} {} {}) ",
            "loop ".repeat(5),
            "nop ".repeat(10),
            "end ".repeat(5)
        );
        let of = |count: usize| {
            check(
                &wat::parse_str(format!("(module {})", hard.repeat(count))).unwrap(),
                &limits,
            )
        };

        assert_eq!(of(1), Ok(()));
        let problem = of(3).unwrap_err();
        assert!(problem.contains("would take longer than 100µs"), "{problem}");
    }

    #[test]
    fn a_module_inside_of_a_component_is_checked_too() {
        let problem = problem("(component (core module (table 101 funcref)))").unwrap_err();
        assert!(problem.contains("entries in one table"), "{problem}");
    }

    #[test]
    fn a_list_of_locals_in_one_word_is_not_believed() {
        // One group of 2³²−1 locals: ten bytes.
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        module.extend([1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0]);
        module.extend([10, 11, 1, 9, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b, 0x0b]);

        let problem = check(&module, &ModuleLimits::default()).unwrap_err();

        assert!(problem.contains("locals"), "{problem}");
    }

    #[test]
    fn an_ordinary_module_passes() {
        let text = "(module (func (export \"_start\")) (memory (export \"memory\") 1))";
        assert_eq!(
            check(&wat::parse_str(text).unwrap(), &ModuleLimits::default()),
            Ok(())
        );
    }
}
