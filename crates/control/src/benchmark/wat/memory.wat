;; Takes 64 MiB, and writes to all of it. At a second call it has it already.
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "null")
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "handler") (param i32 i32) (result i64)
    (if (i32.lt_u (memory.size) (i32.const 1025))
      (then
        (if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)) (then unreachable))))
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 67108864))
    (i64.const 4)))
