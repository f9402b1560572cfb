;; Takes 64 MiB, and writes to all of it. A module that is called again has it already.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.lt_u (memory.size) (i32.const 1025))
      (then
        (if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)) (then unreachable))))
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 67108864))))
