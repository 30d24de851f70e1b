/*
 * Preloaded into nvidia-persistenced: answers its ioctl about whether a GPU's memory is a NUMA node of its own. A
 * structure of zeros means no, for all of these GPUs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#define MODULE 'F'
#define NUMA_INFO 215

int ioctl(int file, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (_IOC_TYPE(request) == MODULE && _IOC_NR(request) == NUMA_INFO) {
        memset(data, 0, _IOC_SIZE(request));
        return 0;
    }
    int (*next)(int, unsigned long, ...);
    *(void **)&next = dlsym(RTLD_NEXT, "ioctl");
    return next(file, request, data);
}
