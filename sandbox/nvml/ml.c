/*
 * libnvidia-ml.so.1 of a host with simulated GPUs, for the unmodified nvidia-ml-py: each function's result.
 * host.h describes the state. Other functions of NVML are missing, as in an older driver.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define API __attribute__((visibility("default")))

/* A handle is an index; NVML's callers see a pointer to nothing. */
struct nvmlDevice_st {
    char unused;
};
static struct nvmlDevice_st devices[MAX_GPUS];

static atomic_uint references;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

/* One call: open the host, find the GPU, look for a fault; the lock is held until the answer is complete. */

struct call {
    const char *function;
    struct host host;
    struct gpu *gpu;
    bool ignored;
};

static nvmlReturn_t find_gpu(struct call *call, nvmlDevice_t device) {
    for (unsigned int i = 0; i < MAX_GPUS; i++)
        if (device == &devices[i]) {
            call->gpu = &call->host.gpus[i];
            /* The GPU was removed from the list while the caller held its handle. */
            return i < call->host.count ? NVML_SUCCESS : NVML_ERROR_GPU_IS_LOST;
        }
    return NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t enter_system(struct call *call, const char *function) {
    call->function = function;
    call->gpu = NULL;
    call->ignored = false;
    host_open(&call->host);
    return references == 0 ? NVML_ERROR_UNINITIALIZED : NVML_SUCCESS;
}

static nvmlReturn_t enter(struct call *call, const char *function, nvmlDevice_t device, enum feature feature) {
    nvmlReturn_t status = enter_system(call, function);
    if (status == NVML_SUCCESS)
        status = find_gpu(call, device);
    if (status == NVML_SUCCESS)
        status = host_fault(call->gpu, function);
    call->ignored = status == (nvmlReturn_t)IGNORED;
    if (call->ignored)
        status = NVML_SUCCESS;
    return status == NVML_SUCCESS ? call->gpu->features[feature] : status;
}

static nvmlReturn_t leave(struct call *call, nvmlReturn_t status) {
    /* A count that did not increase would look like a second reading of the same value. */
    if (status == NVML_SUCCESS && call->host.counted && !host_save_counts(&call->host))
        status = NVML_ERROR_UNKNOWN;
    host_close(&call->host);
    return status;
}

static nvmlReturn_t enter_setter(struct call *call, const char *function, nvmlDevice_t device, enum feature feature) {
    nvmlReturn_t status = enter(call, function, device, feature);
    return status == NVML_SUCCESS && !is_root() ? NVML_ERROR_NO_PERMISSION : status;
}

__attribute__((format(printf, 3, 4)))
static nvmlReturn_t leave_setter(struct call *call, nvmlReturn_t status, const char *format, ...) {
    char arguments[64], gpu[16] = "-", line[256];
    va_list values;
    va_start(values, format);
    vsnprintf(arguments, sizeof arguments, format, values);
    va_end(values);
    if (status == NVML_SUCCESS && !call->ignored && !host_save(&call->host))
        status = NVML_ERROR_UNKNOWN;
    if (call->gpu != NULL)
        snprintf(gpu, sizeof gpu, "%u", call->gpu->index);
    snprintf(line, sizeof line, "%s %s%s -> %u", call->function, gpu, arguments, (unsigned int)status);
    host_log(line);
    return leave(call, status);
}

/*
 * Each function has its parameters, a condition on them, and a body with `gpu`, `settings` in a setter, and `status`
 * for errors. A setter also has, in parentheses, the format and values of its logged arguments.
 */
#define BODY(opening, feature, valid, closing, ...)                                                                    \
    {                                                                                                                  \
        struct call call;                                                                                              \
        nvmlReturn_t status = opening(&call, __func__, device, feature);                                               \
        const struct gpu *gpu = call.gpu;                                                                              \
        (void)gpu;                                                                                                     \
        if (status == NVML_SUCCESS && !(valid))                                                                        \
            status = NVML_ERROR_INVALID_ARGUMENT;                                                                      \
        if (status == NVML_SUCCESS) {                                                                                  \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        return closing;                                                                                                \
    }
#define GETTER(name, parameters, feature, valid, ...)                                                                  \
    API nvmlReturn_t name parameters BODY(enter, feature, valid, leave(&call, status), __VA_ARGS__)
#define SETTER(name, parameters, feature, valid, log, ...)                                                             \
    API nvmlReturn_t name parameters BODY(enter_setter, feature, valid, leave_setter(&call, status, ARGUMENTS log),    \
                                          unsigned int *settings = call.gpu->settings; __VA_ARGS__)
#define ARGUMENTS(...) __VA_ARGS__

/* The most common getters: one number, a text, two numbers. */
#define NUMBER(name, feature, value)                                                                                   \
    GETTER(name, (nvmlDevice_t device, unsigned int *out), feature, out != NULL, *out = value)
#define LONG(name, feature, value)                                                                                     \
    GETTER(name, (nvmlDevice_t device, unsigned long long *out), feature, out != NULL, *out = value)
#define STRING(name, feature, value)                                                                                   \
    GETTER(name, (nvmlDevice_t device, char *out, unsigned int length), feature, true, char scratch[64];               \
           status = give_text(out, length, value))
#define PAIR(name, type, feature, first, second)                                                                       \
    GETTER(name, (nvmlDevice_t device, type *one, type *other), feature, one != NULL && other != NULL, *one = first;   \
           *other = second)

static nvmlReturn_t give_text(char *out, unsigned int size, const char *text) {
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(out, text);
    return NVML_SUCCESS;
}

/* Library and driver */

static nvmlReturn_t first_open(struct host *host) {
    char version[VERSION_SIZE];
    if (!installed_driver(version))
        return NVML_ERROR_LIBRARY_NOT_FOUND;
    if (module_unloaded())
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (strcmp(host->module, version) != 0)
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    if (client_open())
        host_forget(host);
    /* Record the loaded module. Not every process may write there, and a reader need not. */
    (void)host_save(host);
    return NVML_SUCCESS;
}

static nvmlReturn_t initialise(const char *function) {
    struct host host;
    pthread_mutex_lock(&opening);
    host_open(&host);
    nvmlReturn_t status = host_fault(NULL, function);
    if (status == NVML_SUCCESS && references == 0)
        status = first_open(&host);
    if (status == NVML_SUCCESS)
        references++;
    host_close(&host);
    pthread_mutex_unlock(&opening);
    return status;
}

API nvmlReturn_t nvmlInit_v2(void) {
    return initialise(__func__);
}

API nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return initialise(__func__);
}

API nvmlReturn_t nvmlShutdown(void) {
    nvmlReturn_t status = NVML_SUCCESS;
    pthread_mutex_lock(&opening);
    if (references == 0)
        status = NVML_ERROR_UNINITIALIZED;
    else if (--references == 0)
        client_close();
    pthread_mutex_unlock(&opening);
    return status;
}

API const char *nvmlErrorString(nvmlReturn_t result) {
    static const char *const TEXTS[] = {
        [NVML_SUCCESS] = "Success",
        [NVML_ERROR_UNINITIALIZED] = "Uninitialized",
        [NVML_ERROR_INVALID_ARGUMENT] = "Invalid Argument",
        [NVML_ERROR_NOT_SUPPORTED] = "Not Supported",
        [NVML_ERROR_NO_PERMISSION] = "Insufficient Permissions",
        [NVML_ERROR_ALREADY_INITIALIZED] = "Already Initialized",
        [NVML_ERROR_NOT_FOUND] = "Not Found",
        [NVML_ERROR_INSUFFICIENT_SIZE] = "Insufficient Size",
        [NVML_ERROR_INSUFFICIENT_POWER] = "Insufficient External Power",
        [NVML_ERROR_DRIVER_NOT_LOADED] = "Driver Not Loaded",
        [NVML_ERROR_TIMEOUT] = "Timeout",
        [NVML_ERROR_IRQ_ISSUE] = "Interrupt Request Issue",
        [NVML_ERROR_LIBRARY_NOT_FOUND] = "NVML Shared Library Not Found",
        [NVML_ERROR_FUNCTION_NOT_FOUND] = "Function Not Found",
        [NVML_ERROR_CORRUPTED_INFOROM] = "Corrupted infoROM",
        [NVML_ERROR_GPU_IS_LOST] = "GPU is lost",
        [NVML_ERROR_RESET_REQUIRED] = "GPU requires reset",
        [NVML_ERROR_OPERATING_SYSTEM] = "The operating system has blocked the request",
        [NVML_ERROR_LIB_RM_VERSION_MISMATCH] = "Driver/library version mismatch",
        [NVML_ERROR_IN_USE] = "In use by another client",
        [NVML_ERROR_MEMORY] = "Insufficient Memory",
        [NVML_ERROR_NO_DATA] = "No data",
        [NVML_ERROR_ARGUMENT_VERSION_MISMATCH] = "Argument version mismatch",
        [NVML_ERROR_DEPRECATED] = "Requested functionality has been deprecated",
        [NVML_ERROR_NOT_READY] = "System is not ready",
        [NVML_ERROR_GPU_NOT_FOUND] = "No GPUs were found",
    };
    const char *text = (size_t)result < sizeof TEXTS / sizeof *TEXTS ? TEXTS[result] : NULL;
    return text == NULL ? "Unknown Error" : text;
}

/* CUDA's version times 1000, by driver branch. */
static int cuda_version(int branch) {
    static const int ROWS[][2] = {{470, 11040}, {515, 11070}, {525, 12000}, {535, 12020}, {545, 12030},
                                  {550, 12040}, {555, 12050}, {560, 12060}, {565, 12070}, {570, 12080},
                                  {575, 12090}, {580, 13000}, {590, 13010}, {595, 13020}, {610, 13030}};
    int version = 11000;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS && ROWS[i][0] <= branch; i++)
        version = ROWS[i][1];
    return version;
}

/* These two work before nvmlInit, because they need the library only. */

API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    char driver[VERSION_SIZE];
    if (version == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!installed_driver(driver))
        return NVML_ERROR_LIBRARY_NOT_FOUND;
    *version = cuda_version(atoi(driver));
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    return nvmlSystemGetCudaDriverVersion_v2(version);
}

API nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    char driver[VERSION_SIZE], text[VERSION_SIZE + 16];
    if (!installed_driver(driver))
        return NVML_ERROR_LIBRARY_NOT_FOUND;
    snprintf(text, sizeof text, "%d.%s", cuda_version(atoi(driver)) / 1000, driver);
    return give_text(version, length, text);
}

static nvmlReturn_t enter_query(struct call *call, const char *function) {
    nvmlReturn_t status = enter_system(call, function);
    return status == NVML_SUCCESS ? host_fault(NULL, function) : status;
}

API nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    struct call call;
    nvmlReturn_t status = enter_query(&call, __func__);
    if (status == NVML_SUCCESS)
        status = give_text(version, length, call.host.module);
    return leave(&call, status);
}

API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    struct call call;
    nvmlReturn_t status = enter_query(&call, __func__);
    if (status == NVML_SUCCESS && count == NULL)
        status = NVML_ERROR_INVALID_ARGUMENT;
    if (status == NVML_SUCCESS)
        *count = call.host.count;
    return leave(&call, status);
}

/* Handles and identity */

static const char *serial_of(const struct gpu *gpu, char text[64]) {
    snprintf(text, 64, "13%011llu", gpu->identity % 100000000000ULL);
    return text;
}

static const char *uuid_of(const struct gpu *gpu, char text[64]) {
    unsigned long long high = gpu->identity, low = high * 0x9e3779b97f4a7c15ULL;
    snprintf(text, 64, "GPU-%08llx-%04llx-%04llx-%04llx-%012llx", high >> 32, high >> 16 & 0xffff, high & 0xffff,
             low >> 48, low & 0xffffffffffffULL);
    return text;
}

static bool has_index(const struct gpu *gpu, const void *wanted) {
    return gpu->index == *(const unsigned int *)wanted;
}

static bool has_serial(const struct gpu *gpu, const void *wanted) {
    char text[64];
    return gpu->features[SERIAL] == NVML_SUCCESS && strcmp(serial_of(gpu, text), wanted) == 0;
}

static bool has_uuid(const struct gpu *gpu, const void *wanted) {
    char text[64];
    return strcmp(uuid_of(gpu, text), wanted) == 0;
}

/* domain:bus:slot.function with any number of leading zeros; the domain may be left out. */
static bool has_bus_id(const struct gpu *gpu, const void *wanted) {
    unsigned int domain = 0, bus, slot, function = 0;
    if (sscanf(wanted, "%x:%x:%x.%x", &domain, &bus, &slot, &function) < 3) {
        domain = 0;
        if (sscanf(wanted, "%x:%x.%x", &bus, &slot, &function) < 2)
            return false;
    }
    return domain == 0 && bus == 0 && function == 0 && slot == gpu->pci_slot;
}

static nvmlReturn_t give_handle(const char *function, nvmlDevice_t *device, const void *wanted, nvmlReturn_t none,
                                bool (*matches)(const struct gpu *, const void *)) {
    struct call call;
    nvmlReturn_t status = enter_system(&call, function);
    if (status == NVML_SUCCESS && (device == NULL || wanted == NULL))
        status = NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned int i = 0; status == NVML_SUCCESS && call.gpu == NULL && i < call.host.count; i++)
        if (matches(&call.host.gpus[i], wanted))
            call.gpu = &call.host.gpus[i];
    if (status == NVML_SUCCESS)
        status = host_fault(call.gpu, function);
    if (status == NVML_SUCCESS && call.gpu == NULL)
        status = none;
    if (status == NVML_SUCCESS)
        *device = &devices[call.gpu->index];
    return leave(&call, status);
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    return give_handle(__func__, device, &index, NVML_ERROR_INVALID_ARGUMENT, has_index);
}

API nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) {
    return give_handle(__func__, device, serial, NVML_ERROR_NOT_FOUND, has_serial);
}

API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    return give_handle(__func__, device, uuid, NVML_ERROR_NOT_FOUND, has_uuid);
}

API nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pciBusId, nvmlDevice_t *device) {
    return give_handle(__func__, device, pciBusId, NVML_ERROR_NOT_FOUND, has_bus_id);
}

static void describe_pci(const struct gpu *gpu, nvmlPciInfo_t *pci) {
    *pci = (nvmlPciInfo_t){
        .device = gpu->pci_slot,
        .pciDeviceId = gpu->profile->pci_device,
        .pciSubSystemId = gpu->profile->pci_subsystem,
    };
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:00:%02X.0", gpu->pci_slot & 0x1FU);
    snprintf(pci->busId, sizeof pci->busId, "00000000:00:%02X.0", gpu->pci_slot & 0x1FU);
}

NUMBER(nvmlDeviceGetIndex, ALWAYS, gpu->index)
NUMBER(nvmlDeviceGetMinorNumber, ALWAYS, gpu->index)
STRING(nvmlDeviceGetName, ALWAYS, ((void)scratch, gpu->profile->name))
STRING(nvmlDeviceGetVbiosVersion, ALWAYS, ((void)scratch, gpu->profile->vbios))
STRING(nvmlDeviceGetSerial, SERIAL, serial_of(gpu, scratch))
STRING(nvmlDeviceGetUUID, ALWAYS, uuid_of(gpu, scratch))
NUMBER(nvmlDeviceGetBrand, ALWAYS, gpu->profile->brand)
NUMBER(nvmlDeviceGetArchitecture, ALWAYS, gpu->profile->architecture)
PAIR(nvmlDeviceGetCudaComputeCapability, int, ALWAYS, gpu->profile->cuda_major, gpu->profile->cuda_minor)
NUMBER(nvmlDeviceGetVirtualizationMode, ALWAYS, NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH)
NUMBER(nvmlDeviceGetDisplayMode, ALWAYS, 0)
NUMBER(nvmlDeviceGetDisplayActive, ALWAYS, 0)
GETTER(nvmlDeviceGetPciInfo_v3, (nvmlDevice_t device, nvmlPciInfo_t *pci), ALWAYS, pci != NULL, describe_pci(gpu, pci))

/* Load */

/* A call that returns a reading advances it if it counts; a call that only depends on it does not. */

static unsigned int measure(struct call *call, enum reading which) {
    struct gpu *gpu = call->gpu;
    if (gpu->steps[which] != 0) {
        gpu->readings[which] = gpu->counts[which] += gpu->steps[which];
        call->host.counted = true;
    }
    return (unsigned int)gpu->readings[which];
}

static unsigned int reading(const struct gpu *gpu, enum reading which) {
    return (unsigned int)gpu->readings[which];
}

static unsigned int setting(const struct gpu *gpu, enum setting which, unsigned int fallback) {
    return gpu->settings[which] == UNSET ? fallback : gpu->settings[which];
}

static bool idle(const struct gpu *gpu) {
    return gpu->readings[GPU_UTILIZATION] == 0;
}

static unsigned int power_limit(const struct gpu *gpu) {
    return setting(gpu, POWER_LIMIT, gpu->profile->power_default);
}

static unsigned int power_usage(const struct gpu *gpu) {
    unsigned int wanted = reading(gpu, POWER), limit = power_limit(gpu);
    return wanted < limit ? wanted : limit;
}

static unsigned int measure_power(struct call *call) {
    measure(call, POWER);
    return power_usage(call->gpu);
}

/* Millijoules. Whole seconds are separate, because milliwatts times microseconds would soon overflow. */
static unsigned long long measure_energy(struct call *call) {
    unsigned long long now = host_now(), since = call->host.in_force, power = power_usage(call->gpu);
    unsigned long long elapsed = now > since ? now - since : 0;
    measure(call, ENERGY);
    return call->gpu->readings[ENERGY] + elapsed / 1000000 * power + elapsed % 1000000 * power / 1000000;
}

static unsigned long long memory_free(const struct gpu *gpu) {
    unsigned long long taken = gpu->profile->memory_reserved + gpu->readings[MEMORY_USED];
    return taken < gpu->profile->memory_total ? gpu->profile->memory_total - taken : 0;
}

/* The older function counts the driver's own memory as used. */
GETTER(nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t *memory), ALWAYS, memory != NULL,
       measure(&call, MEMORY_USED);
       memory->total = gpu->profile->memory_total;
       memory->free = memory_free(gpu); memory->used = memory->total - memory->free)
GETTER(
    nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, nvmlMemory_v2_t *memory), ALWAYS, memory != NULL,
    if (memory->version != NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2U))
        status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    else {
        measure(&call, MEMORY_USED);
        memory->total = gpu->profile->memory_total;
        memory->reserved = gpu->profile->memory_reserved;
        memory->free = memory_free(gpu);
        memory->used = memory->total - memory->reserved - memory->free;
    })
GETTER(nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, nvmlUtilization_t *rates), UTILIZATION, rates != NULL,
       rates->gpu = measure(&call, GPU_UTILIZATION);
       rates->memory = measure(&call, MEMORY_UTILIZATION))
/* The second number is the sampling period in microseconds. */
PAIR(nvmlDeviceGetEncoderUtilization, unsigned int, UTILIZATION, measure(&call, ENCODER), 167000)
PAIR(nvmlDeviceGetDecoderUtilization, unsigned int, UTILIZATION, measure(&call, DECODER), 167000)
GETTER(nvmlDeviceGetTemperature, (nvmlDevice_t device, unsigned int sensor, unsigned int *temperature), ALWAYS,
       sensor == NVML_TEMPERATURE_GPU && temperature != NULL, *temperature = measure(&call, TEMPERATURE))
GETTER(
    nvmlDeviceGetTemperatureV, (nvmlDevice_t device, nvmlTemperature_t *temperature), ALWAYS, temperature != NULL,
    if (temperature->version != NVML_STRUCT_VERSION(nvmlTemperature_t, 1U))
        status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    else if (temperature->sensorType != NVML_TEMPERATURE_GPU) status = NVML_ERROR_INVALID_ARGUMENT;
    else temperature->temperature = (int)measure(&call, TEMPERATURE))
GETTER(nvmlDeviceGetTemperatureThreshold, (nvmlDevice_t device, unsigned int type, unsigned int *temperature), ALWAYS,
       type < NVML_TEMPERATURE_THRESHOLD_COUNT && temperature != NULL,
       *temperature = type <= NVML_TEMPERATURE_THRESHOLD_GPU_MAX ? gpu->profile->thresholds[type] : 0;
       if (*temperature == 0) status = NVML_ERROR_NOT_SUPPORTED)
NUMBER(nvmlDeviceGetNumFans, ALWAYS, gpu->features[FAN] == NVML_SUCCESS)
NUMBER(nvmlDeviceGetFanSpeed, FAN, measure(&call, FAN_SPEED))
GETTER(nvmlDeviceGetFanSpeed_v2, (nvmlDevice_t device, unsigned int fan, unsigned int *speed), FAN,
       fan == 0 && speed != NULL, *speed = measure(&call, FAN_SPEED))
/* A Volta data-centre card has one performance state. */
NUMBER(nvmlDeviceGetPerformanceState, ALWAYS, idle(gpu) && gpu->profile->clocks[1].memory != 0 ? 8 : 0)
GETTER(nvmlDeviceGetComputeRunningProcesses_v3, (nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos),
       ALWAYS, count != NULL, (void)infos; *count = 0)
GETTER(nvmlDeviceGetGraphicsRunningProcesses_v3, (nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos),
       ALWAYS, count != NULL, (void)infos; *count = 0)

NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, ALWAYS, gpu->profile->pcie_generation)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, ALWAYS, idle(gpu) ? 1 : gpu->profile->pcie_generation)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, ALWAYS, gpu->profile->pcie_width)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, ALWAYS, gpu->profile->pcie_width)
NUMBER(nvmlDeviceGetPcieReplayCounter, ALWAYS, 0)
GETTER(nvmlDeviceGetPcieThroughput, (nvmlDevice_t device, unsigned int counter, unsigned int *value), ALWAYS,
       counter < NVML_PCIE_UTIL_COUNT && value != NULL,
       *value = measure(&call, counter == NVML_PCIE_UTIL_TX_BYTES ? PCIE_TX : PCIE_RX))

/* Power */

NUMBER(nvmlDeviceGetPowerManagementMode, POWER_MANAGEMENT, 1)
NUMBER(nvmlDeviceGetPowerUsage, POWER_MANAGEMENT, measure_power(&call))
/* Energy is derived from the measured power. */
GETTER(nvmlDeviceGetTotalEnergyConsumption, (nvmlDevice_t device, unsigned long long *energy), ENERGY_COUNTER,
       energy != NULL, status = gpu->features[POWER_MANAGEMENT];
       if (status == NVML_SUCCESS) *energy = measure_energy(&call))
NUMBER(nvmlDeviceGetPowerManagementLimit, POWER_MANAGEMENT, power_limit(gpu))
NUMBER(nvmlDeviceGetEnforcedPowerLimit, POWER_MANAGEMENT, power_limit(gpu))
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, POWER_MANAGEMENT, gpu->profile->power_default)
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, unsigned int, POWER_MANAGEMENT, gpu->profile->power_min,
     gpu->profile->power_max)
SETTER(nvmlDeviceSetPowerManagementLimit, (nvmlDevice_t device, unsigned int limit), POWER_MANAGEMENT,
       limit >= gpu->profile->power_min && limit <= gpu->profile->power_max, (" %u", limit),
       settings[POWER_LIMIT] = limit)

/* Clocks */

/* Supported clocks, highest first as NVML lists them. */
struct clocks {
    unsigned int count, values[MAX_CLOCKS];
};

static struct clocks memory_clocks(const struct profile *profile) {
    struct clocks clocks = {.count = 0};
    while (clocks.count < MAX_MEMORY_CLOCKS && profile->clocks[clocks.count].memory != 0) {
        clocks.values[clocks.count] = profile->clocks[clocks.count].memory;
        clocks.count++;
    }
    return clocks;
}

/* The graphics clocks for a memory clock; none when it is not supported. */
static struct clocks graphics_clocks(const struct profile *profile, unsigned int memory) {
    struct clocks clocks = {.count = 0};
    for (unsigned int i = 0; i < MAX_MEMORY_CLOCKS; i++)
        if (profile->clocks[i].memory == memory && memory != 0)
            /* Half megahertz are rounded down, so the difference is rounded up. */
            for (unsigned int below = 0; profile->graphics_min + below / 1000 <= profile->clocks[i].graphics_max;
                 below += profile->graphics_step)
                clocks.values[clocks.count++] = profile->clocks[i].graphics_max - (below + 999) / 1000;
    return clocks;
}

static unsigned int nearest(struct clocks clocks, unsigned int wanted) {
    unsigned int best = 0;
    for (unsigned int i = 0; i < clocks.count; i++)
        if (llabs((long long)clocks.values[i] - wanted) < llabs((long long)clocks.values[best] - wanted))
            best = i;
    return clocks.values[best];
}

static bool is_pair(const struct profile *profile, unsigned int memory, unsigned int graphics) {
    struct clocks clocks = graphics_clocks(profile, memory);
    return clocks.count > 0 && nearest(clocks, graphics) == graphics;
}

static nvmlReturn_t give_clocks(struct clocks clocks, unsigned int *count, unsigned int *out) {
    bool fits = out != NULL && *count >= clocks.count;
    *count = clocks.count;
    if (fits)
        memcpy(out, clocks.values, clocks.count * sizeof *out);
    return fits ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

static unsigned int locked(const struct gpu *gpu, unsigned int clock, enum setting lowest, enum setting highest) {
    if (clock < setting(gpu, lowest, 0))
        clock = setting(gpu, lowest, 0);
    return clock > setting(gpu, highest, UNSET) ? setting(gpu, highest, UNSET) : clock;
}

/* An idle GPU drops to its lowest clocks; a busy one runs at its application clocks if set, else it boosts. */
static unsigned int clock_in_force(const struct gpu *gpu, unsigned int type) {
    const struct profile *profile = gpu->profile;
    struct clocks memory = memory_clocks(profile), graphics = graphics_clocks(profile, memory.values[0]);
    unsigned int low = memory.values[memory.count - 1], clock;
    if (type == NVML_CLOCK_MEM) {
        clock = idle(gpu) ? low : setting(gpu, APPLICATION_MEMORY, profile->application_memory);
        return nearest(memory, locked(gpu, clock, LOCKED_MEMORY_MIN, LOCKED_MEMORY_MAX));
    }
    clock = idle(gpu) ? profile->graphics_min : setting(gpu, APPLICATION_GRAPHICS, graphics.values[0]);
    clock = nearest(graphics, locked(gpu, clock, LOCKED_GRAPHICS_MIN, LOCKED_GRAPHICS_MAX));
    return type == NVML_CLOCK_VIDEO ? clock * 9 / 10 : clock;
}

static unsigned int max_clock(const struct gpu *gpu, unsigned int type) {
    const struct memory_clock *highest = &gpu->profile->clocks[0];
    if (type == NVML_CLOCK_MEM)
        return highest->memory;
    return type == NVML_CLOCK_VIDEO ? highest->graphics_max * 9 / 10 : highest->graphics_max;
}

static unsigned long long event_reasons(const struct gpu *gpu) {
    unsigned long long reasons = gpu->readings[REASONS];
    if (idle(gpu))
        reasons |= nvmlClocksEventReasonGpuIdle;
    else if (clock_in_force(gpu, NVML_CLOCK_GRAPHICS) < max_clock(gpu, NVML_CLOCK_GRAPHICS))
        reasons |= nvmlClocksEventReasonApplicationsClocksSetting;
    return reasons | (reading(gpu, POWER) > power_limit(gpu) ? nvmlClocksEventReasonSwPowerCap : 0);
}

GETTER(nvmlDeviceGetClockInfo, (nvmlDevice_t device, unsigned int type, unsigned int *clock), ALWAYS,
       type < NVML_CLOCK_COUNT && clock != NULL, *clock = clock_in_force(gpu, type))
GETTER(nvmlDeviceGetMaxClockInfo, (nvmlDevice_t device, unsigned int type, unsigned int *clock), ALWAYS,
       type < NVML_CLOCK_COUNT && clock != NULL, *clock = max_clock(gpu, type))
GETTER(nvmlDeviceGetSupportedMemoryClocks, (nvmlDevice_t device, unsigned int *count, unsigned int *clocksMHz),
       SUPPORTED_CLOCKS, count != NULL, status = give_clocks(memory_clocks(gpu->profile), count, clocksMHz))
GETTER(nvmlDeviceGetSupportedGraphicsClocks,
       (nvmlDevice_t device, unsigned int memoryClockMHz, unsigned int *count, unsigned int *clocksMHz),
       SUPPORTED_CLOCKS, count != NULL, struct clocks clocks = graphics_clocks(gpu->profile, memoryClockMHz);
       status = clocks.count == 0 ? NVML_ERROR_NOT_FOUND : give_clocks(clocks, count, clocksMHz))
/* Throttle reasons until driver 535, event reasons since. */
LONG(nvmlDeviceGetCurrentClocksThrottleReasons, ALWAYS, (measure(&call, REASONS), event_reasons(gpu)))
LONG(nvmlDeviceGetCurrentClocksEventReasons, ALWAYS, (measure(&call, REASONS), event_reasons(gpu)))
LONG(nvmlDeviceGetSupportedClocksThrottleReasons, ALWAYS, nvmlClocksEventReasonAll)
LONG(nvmlDeviceGetSupportedClocksEventReasons, ALWAYS, nvmlClocksEventReasonAll)

/* Later drivers deprecate application clocks, getters and setters alike: see BRANCH_WITHOUT_APPLICATION_CLOCKS. */
GETTER(nvmlDeviceGetApplicationsClock, (nvmlDevice_t device, unsigned int type, unsigned int *clock),
       APPLICATION_CLOCKS, type <= NVML_CLOCK_MEM && clock != NULL,
       *clock = type == NVML_CLOCK_MEM ? setting(gpu, APPLICATION_MEMORY, gpu->profile->application_memory)
                                       : setting(gpu, APPLICATION_GRAPHICS, gpu->profile->application_graphics))
GETTER(nvmlDeviceGetDefaultApplicationsClock, (nvmlDevice_t device, unsigned int type, unsigned int *clock),
       APPLICATION_CLOCKS, type <= NVML_CLOCK_MEM && clock != NULL,
       *clock = type == NVML_CLOCK_MEM ? gpu->profile->application_memory : gpu->profile->application_graphics)
SETTER(nvmlDeviceSetApplicationsClocks, (nvmlDevice_t device, unsigned int memClockMHz, unsigned int graphicsClockMHz),
       APPLICATION_CLOCKS, is_pair(gpu->profile, memClockMHz, graphicsClockMHz),
       (" %u %u", memClockMHz, graphicsClockMHz), settings[APPLICATION_MEMORY] = memClockMHz;
       settings[APPLICATION_GRAPHICS] = graphicsClockMHz)
SETTER(nvmlDeviceResetApplicationsClocks, (nvmlDevice_t device), APPLICATION_CLOCKS, true, ("%s", ""),
       settings[APPLICATION_MEMORY] = settings[APPLICATION_GRAPHICS] = UNSET)

/* Locked clocks are a pair of megahertz in order, or a pair of nvmlClockLimitId_t; no mixture. */
static bool is_lock(unsigned int lowest, unsigned int highest) {
    bool numbers = lowest < NVML_CLOCK_LIMIT_ID_RANGE_START && highest < NVML_CLOCK_LIMIT_ID_RANGE_START;
    bool names = lowest > NVML_CLOCK_LIMIT_ID_RANGE_START && highest > NVML_CLOCK_LIMIT_ID_RANGE_START;
    return numbers ? lowest <= highest
                   : names && lowest <= NVML_CLOCK_LIMIT_ID_UNLIMITED && highest <= NVML_CLOCK_LIMIT_ID_UNLIMITED;
}

static unsigned int resolved(const struct gpu *gpu, unsigned int clock) {
    if (clock == NVML_CLOCK_LIMIT_ID_TDP)
        return gpu->profile->application_graphics;
    return clock == NVML_CLOCK_LIMIT_ID_UNLIMITED ? UNSET : clock;
}

SETTER(nvmlDeviceSetGpuLockedClocks, (nvmlDevice_t device, unsigned int minGpuClockMHz, unsigned int maxGpuClockMHz),
       LOCKED_CLOCKS, is_lock(minGpuClockMHz, maxGpuClockMHz), (" %u %u", minGpuClockMHz, maxGpuClockMHz),
       settings[LOCKED_GRAPHICS_MIN] = resolved(gpu, minGpuClockMHz);
       settings[LOCKED_GRAPHICS_MAX] = resolved(gpu, maxGpuClockMHz))
SETTER(nvmlDeviceResetGpuLockedClocks, (nvmlDevice_t device), LOCKED_CLOCKS, true, ("%s", ""),
       settings[LOCKED_GRAPHICS_MIN] = settings[LOCKED_GRAPHICS_MAX] = UNSET)
SETTER(nvmlDeviceSetMemoryLockedClocks,
       (nvmlDevice_t device, unsigned int minMemClockMHz, unsigned int maxMemClockMHz), MEMORY_LOCKED_CLOCKS,
       minMemClockMHz <= maxMemClockMHz && maxMemClockMHz < NVML_CLOCK_LIMIT_ID_RANGE_START,
       (" %u %u", minMemClockMHz, maxMemClockMHz), settings[LOCKED_MEMORY_MIN] = minMemClockMHz;
       settings[LOCKED_MEMORY_MAX] = maxMemClockMHz)
SETTER(nvmlDeviceResetMemoryLockedClocks, (nvmlDevice_t device), MEMORY_LOCKED_CLOCKS, true, ("%s", ""),
       settings[LOCKED_MEMORY_MIN] = settings[LOCKED_MEMORY_MAX] = UNSET)

/*
 * Samples: the driver's buffers of the last readings. A sample is due every sixth of a second since the epoch; its
 * value is the reading in force now, because past readings are not stored.
 */

#define SAMPLES_PER_SECOND 6U
#define SAMPLES_KEPT 100U

/* The feature that samples of each type require; no GPU here has samples of the later types. */
static const enum feature SAMPLED[] = {
    [NVML_TOTAL_POWER_SAMPLES] = POWER_MANAGEMENT,
    [NVML_GPU_UTILIZATION_SAMPLES] = UTILIZATION,
    [NVML_MEMORY_UTILIZATION_SAMPLES] = UTILIZATION,
    [NVML_ENC_UTILIZATION_SAMPLES] = UTILIZATION,
    [NVML_DEC_UTILIZATION_SAMPLES] = UTILIZATION,
    [NVML_PROCESSOR_CLK_SAMPLES] = ALWAYS,
    [NVML_MEMORY_CLK_SAMPLES] = ALWAYS,
};

static nvmlReturn_t samples_of(const struct gpu *gpu, unsigned int type) {
    return gpu->features[type < sizeof SAMPLED / sizeof *SAMPLED ? SAMPLED[type] : NOWHERE];
}

static unsigned int measure_sample(struct call *call, unsigned int type) {
    switch (type) {
    case NVML_TOTAL_POWER_SAMPLES:
        return measure_power(call);
    case NVML_GPU_UTILIZATION_SAMPLES:
        return measure(call, GPU_UTILIZATION);
    case NVML_MEMORY_UTILIZATION_SAMPLES:
        return measure(call, MEMORY_UTILIZATION);
    case NVML_ENC_UTILIZATION_SAMPLES:
        return measure(call, ENCODER);
    case NVML_DEC_UTILIZATION_SAMPLES:
        return measure(call, DECODER);
    default:
        return clock_in_force(call->gpu, type == NVML_PROCESSOR_CLK_SAMPLES ? NVML_CLOCK_SM : NVML_CLOCK_MEM);
    }
}

/* A fetch reads once, however many samples it returns; one that returns none reads nothing. */
static unsigned int take_samples(struct call *call, unsigned int type, unsigned long long last, nvmlSample_t *samples,
                                 unsigned int size) {
    unsigned long long newest = host_now() * SAMPLES_PER_SECOND / 1000000;
    unsigned int given = 0;
    for (unsigned long long tick = newest - SAMPLES_KEPT + 1; tick <= newest && given < size; tick++) {
        unsigned long long time = tick * 1000000 / SAMPLES_PER_SECOND;
        if (time > last)
            samples[given++] = (nvmlSample_t){.timeStamp = time};
    }
    unsigned int value = given == 0 ? 0 : measure_sample(call, type);
    for (unsigned int i = 0; i < given; i++)
        samples[i].sampleValue.uiVal = value;
    return given;
}

/* Without an array, return the size of the whole buffer. If not all samples fit, return the oldest. */
static nvmlReturn_t give_samples(struct call *call, unsigned int type, unsigned long long last, unsigned int *count,
                                 nvmlSample_t *samples) {
    nvmlReturn_t status = samples_of(call->gpu, type);
    if (status != NVML_SUCCESS)
        return status;
    struct held held = host_samples(call->gpu, type, last, samples, samples == NULL ? 0 : *count);
    if (samples == NULL)
        *count = held.all == 0 ? SAMPLES_KEPT : held.all;
    else
        *count = held.all == 0 ? take_samples(call, type, last, samples, *count) : held.given;
    return *count == 0 ? NVML_ERROR_NOT_FOUND : NVML_SUCCESS;
}

GETTER(nvmlDeviceGetSamples,
       (nvmlDevice_t device, unsigned int type, unsigned long long lastSeenTimeStamp, unsigned int *sampleValType,
        unsigned int *sampleCount, nvmlSample_t *samples),
       SAMPLES,
       type < NVML_SAMPLINGTYPE_COUNT && sampleValType != NULL && sampleCount != NULL
           && (samples == NULL || *sampleCount > 0),
       *sampleValType = NVML_VALUE_TYPE_UNSIGNED_INT;
       status = give_samples(&call, type, lastSeenTimeStamp, sampleCount, samples))

/* Modes */

NUMBER(nvmlDeviceGetPersistenceMode, PERSISTENCE, setting(gpu, PERSISTENCE_MODE, 0))
SETTER(nvmlDeviceSetPersistenceMode, (nvmlDevice_t device, unsigned int mode), PERSISTENCE, mode <= 1, (" %u", mode),
       settings[PERSISTENCE_MODE] = mode)
NUMBER(nvmlDeviceGetComputeMode, COMPUTE, setting(gpu, COMPUTE_MODE, NVML_COMPUTEMODE_DEFAULT))
/* EXCLUSIVE_THREAD was removed from CUDA and is refused. */
SETTER(nvmlDeviceSetComputeMode, (nvmlDevice_t device, unsigned int mode), COMPUTE,
       mode < NVML_COMPUTEMODE_COUNT && mode != NVML_COMPUTEMODE_EXCLUSIVE_THREAD, (" %u", mode),
       settings[COMPUTE_MODE] = mode)

/* Absent on every GPU here: MIG, and Windows' driver models. */
PAIR(nvmlDeviceGetMigMode, unsigned int, NOWHERE, 0, 0)
PAIR(nvmlDeviceGetDriverModel, unsigned int, NOWHERE, 0, 0)
PAIR(nvmlDeviceGetDriverModel_v2, unsigned int, NOWHERE, 0, 0)

/* Error correction: a new mode is pending until the next boot; until then the present mode is stored. */

static unsigned int ecc_current(const struct gpu *gpu) {
    return setting(gpu, ECC_CURRENT, ecc_pending(gpu));
}

PAIR(nvmlDeviceGetEccMode, unsigned int, ECC, ecc_current(gpu), ecc_pending(gpu))
NUMBER(nvmlDeviceGetDefaultEccMode, ECC, gpu->profile->ecc_default)
SETTER(nvmlDeviceSetEccMode, (nvmlDevice_t device, unsigned int ecc), ECC, ecc <= 1, (" %u", ecc),
       settings[ECC_CURRENT] = ecc_current(gpu);
       settings[ECC_PENDING] = ecc; call.host.inforom_changed = true)

static nvmlReturn_t give_errors(struct call *call, unsigned int type, bool here, unsigned long long *count) {
    enum reading counter = type == NVML_MEMORY_ERROR_TYPE_CORRECTED ? ECC_CORRECTED : ECC_UNCORRECTED;
    if (ecc_current(call->gpu) == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    if (here)
        measure(call, counter);
    *count = here ? call->gpu->readings[counter] : 0;
    return NVML_SUCCESS;
}

/* All errors are in device memory. */
GETTER(nvmlDeviceGetTotalEccErrors,
       (nvmlDevice_t device, unsigned int errorType, unsigned int counterType, unsigned long long *eccCounts), ECC,
       errorType < NVML_MEMORY_ERROR_TYPE_COUNT && counterType <= NVML_AGGREGATE_ECC && eccCounts != NULL,
       status = give_errors(&call, errorType, true, eccCounts))
GETTER(nvmlDeviceGetMemoryErrorCounter,
       (nvmlDevice_t device, unsigned int errorType, unsigned int counterType, unsigned int locationType,
        unsigned long long *count),
       ECC,
       errorType < NVML_MEMORY_ERROR_TYPE_COUNT && counterType <= NVML_AGGREGATE_ECC
           && locationType < NVML_MEMORY_LOCATION_COUNT && count != NULL,
       status = give_errors(&call, errorType, locationType == NVML_MEMORY_LOCATION_DEVICE_MEMORY, count))
GETTER(nvmlDeviceGetRetiredPages,
       (nvmlDevice_t device, unsigned int cause, unsigned int *pageCount, unsigned long long *addresses), RETIRED_PAGES,
       cause < NVML_PAGE_RETIREMENT_CAUSE_COUNT && pageCount != NULL, (void)addresses; *pageCount = 0)
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, RETIRED_PAGES, 0)
GETTER(nvmlDeviceGetRemappedRows,
       (nvmlDevice_t device, unsigned int *corrRows, unsigned int *uncRows, unsigned int *isPending,
        unsigned int *failureOccurred),
       REMAPPED_ROWS, corrRows != NULL && uncRows != NULL && isPending != NULL && failureOccurred != NULL,
       *corrRows = measure(&call, REMAPPED_CORRECTABLE);
       *uncRows = measure(&call, REMAPPED_UNCORRECTABLE); *isPending = measure(&call, REMAPPING_PENDING);
       *failureOccurred = measure(&call, REMAPPING_FAILED))
