/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads another process's memory while claiming to run an executable that it does not run
 * (PR_SET_MM_MAP). It first replaces all mappings of its own executable with copies. The kernel
 * requires CAP_CHECKPOINT_RESTORE, in the process's own user namespace.
 *
 *	pose EXECUTABLE PID ADDRESS LENGTH
 *	pose EXECUTABLE		reads nothing, and waits
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	return 1;
}

/* Sets the executable that the kernel records for this process; keeps the rest of the map. */
static int pose(int exe)
{
	struct prctl_mm_map map = {.exe_fd = exe};
	FILE *stat = fopen("/proc/self/stat", "r");
	unsigned long long fields[52] = {};
	char text[32];

	if (!stat)
		return -1;
	for (int i = 1; i < 52 && fscanf(stat, "%31s", text) == 1; i++)
		fields[i] = strtoull(text, NULL, 10);
	fclose(stat);
	map.start_code = fields[26];
	map.end_code = fields[27];
	map.start_stack = fields[28];
	map.start_data = fields[45];
	map.end_data = fields[46];
	map.start_brk = fields[47];
	map.brk = (uintptr_t)sbrk(0);
	map.arg_start = fields[48];
	map.arg_end = fields[49];
	map.env_start = fields[50];
	map.env_end = fields[51];
	return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
}

int main(int argc, char **argv)
{
	uintptr_t from[16], to[16];
	char line[512], own[256] = {}, path[256], buffer[64];
	struct iovec local = {.iov_base = buffer}, remote;
	int exe, count = 0;
	FILE *maps;

	if (argc != 5 && argc != 2)
		return 2;
	if (readlink("/proc/self/exe", own, sizeof(own) - 1) < 0)
		return failed("readlink");
	maps = fopen("/proc/self/maps", "r");
	if (!maps)
		return failed("open maps");
	while (count < 16 && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %255s", &from[count],
			   &to[count], path) == 3 &&
		    !strcmp(path, own))
			count++;
	fclose(maps);
	exe = open(argv[1], O_RDONLY);
	if (exe < 0)
		return failed("open the executable");
	for (int i = 0; i < count; i++) {
		size_t len = to[i] - from[i];
		void *copy = mmap(NULL, len, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (copy == MAP_FAILED)
			return failed("mmap");
		memcpy(copy, (void *)from[i], len);
		if (mremap(copy, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, from[i]) == MAP_FAILED)
			return failed("mremap");
	}
	if (pose(exe))
		return failed("PR_SET_MM_MAP");
	if (argc == 2) {
		puts("posing");
		fflush(stdout);
		return getchar() == EOF ? 0 : 2;
	}
	local.iov_len = remote.iov_len = strtoul(argv[4], NULL, 10);
	remote.iov_base = (void *)strtoull(argv[3], NULL, 10);
	if (process_vm_readv(atoi(argv[2]), &local, 1, &remote, 1, 0) < 0)
		return failed("process_vm_readv");
	printf("%.*s\n", (int)local.iov_len, buffer);
	return 0;
}
