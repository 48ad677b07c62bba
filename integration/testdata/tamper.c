/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks by a privileged container on shimward that a shell cannot perform. Prints one
 * line per attempt: its name, and "done" or the error.
 *
 *	tamper bpf PIN CGROUP PID	opens a pin, and others' programs, maps and links
 *					by id; detaches from a cgroup; takes a file
 *					descriptor from the process
 *	tamper send SOCKET		connects, sends garbage, and replaces the socket
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int tell(const char *name, int result)
{
	if (result >= 0)
		printf("%s: done\n", name);
	else
		printf("%s: %s\n", name, strerrorname_np(errno));
	return result;
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int by_id(int next, int get)
{
	union bpf_attr attr = {};

	if (bpf(next, &attr))
		return -1;
	attr.start_id = attr.next_id;
	attr.next_id = 0;
	return bpf(get, &attr);
}

static int by_pin(const char *path)
{
	union bpf_attr attr = {.pathname = (uintptr_t)path};

	return bpf(BPF_OBJ_GET, &attr);
}

/* This cannot detach a link, whoever calls it: only what was attached without one. */
static int detach(const char *cgroup)
{
	union bpf_attr attr = {};

	attr.target_fd = open(cgroup, O_RDONLY | O_DIRECTORY);
	attr.attach_type = BPF_CGROUP_INET_EGRESS;
	return (int)attr.target_fd < 0 ? -1 : bpf(BPF_PROG_DETACH, &attr);
}

/* The shim holds the links of its container. */
static int from_process(const char *pid)
{
	int process = syscall(SYS_pidfd_open, atoi(pid), 0);

	return process < 0 ? -1 : syscall(SYS_pidfd_getfd, process, 0, 0);
}

static int take_place(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static const char garbage[] = "{\"fds\":[\"seccompFd\"],";
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	tell("connect", connect(s, (void *)&address, sizeof(address)));
	tell("send", write(s, garbage, sizeof(garbage)));
	close(s);
	tell("unlink", unlink(path));
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	return tell("bind", bind(s, (void *)&address, sizeof(address)));
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return take_place(argv[2]) < 0;
	if (argc != 5)
		return 2;
	tell("pin", by_pin(argv[2]));
	tell("program", by_id(BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID));
	tell("map", by_id(BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID));
	tell("link", by_id(BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID));
	tell("detach", detach(argv[3]));
	tell("descriptor", from_process(argv[4]));
	return 0;
}
