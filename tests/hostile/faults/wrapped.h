/* See wrapped.c. */
#ifndef WRAPPED_H
#define WRAPPED_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern uint32_t faults_calls, faults_at; /* calls up to now; the one that fails, 0 for none */
extern bool faults_after;
extern int faults_errno;
extern int64_t faults_files, faults_mappings; /* open now */

#endif
