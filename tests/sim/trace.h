/* tests/sim/trace.h - what happened in a run: a hash of all of it, the lines for a person, and the first fault. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void trace_begin(bool verbose);
uint64_t trace_hash(void);
bool trace_verbose(void);
/* Into the hash. */
void trace_bytes(const void *data, size_t len);
void trace_num(uint64_t v);
/* A line for a person; also into the hash.  Time and running host come in front. */
void trace_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The run has failed; the first reason is kept. */
void trace_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *trace_failure(void);   /* NULL: none */
