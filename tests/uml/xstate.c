// Lets a user-mode kernel run on a CPU whose register state is larger than it knows (AMX, for one).
//
// The host takes a traced process's registers back only as a whole, and the kernel hands in the part it knows of. Here
// the rest is filled in as it was. Preloaded by __init__.py.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...) {
    static long (*next)(enum __ptrace_request, ...);
    static char state[1 << 16];
    va_list rest;
    va_start(rest, request);
    int pid = va_arg(rest, int);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    if (next == NULL) next = dlsym(RTLD_NEXT, "ptrace");
    if ((int)request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        struct iovec *known = data, whole = {state, sizeof state};
        if (next(PTRACE_GETREGSET, pid, address, &whole) == 0 && known->iov_len < whole.iov_len) {
            memcpy(state, known->iov_base, known->iov_len);
            return next(request, pid, address, &whole);
        }
    }
    return next(request, pid, address, data);
}
