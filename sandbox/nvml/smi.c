/*
 * nvidia-smi for a host with simulated GPUs: the options people type, in nvidia-smi's words and with its exit codes.
 * It sees the GPUs through libnvidia-ml.so.1 alone, whichever one the loader finds.
 */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "nvml.h"

#define MAX_GPUS 16U
#define MAX_CLOCKS 256U
#define TEXT 128U
#define MIB (1024ULL * 1024ULL)

#define EXIT_INVALID 2
#define EXIT_NOT_FOUND 6

static void *library;

/* A function of NVML by its name; without it, nvidia-smi reports: Function Not Found. */
#define CALL(type, name, ...)                                                                                          \
    do {                                                                                                               \
        nvmlReturn_t (*function) type;                                                                                 \
        *(void **)&function = dlsym(library, name);                                                                    \
        return function == NULL ? NVML_ERROR_FUNCTION_NOT_FOUND : function(__VA_ARGS__);                               \
    } while (0)

typedef unsigned int number;

static nvmlReturn_t call(const char *name) {
    CALL((void), name, );
}

static nvmlReturn_t call_text(const char *name, char *text) {
    CALL((char *, number), name, text, TEXT);
}

static nvmlReturn_t call_number(const char *name, number *value) {
    CALL((number *), name, value);
}

static nvmlReturn_t call_find(const char *name, const char *wanted, nvmlDevice_t *gpu) {
    CALL((const char *, nvmlDevice_t *), name, wanted, gpu);
}

static nvmlReturn_t call_index(number index, nvmlDevice_t *gpu) {
    CALL((number, nvmlDevice_t *), "nvmlDeviceGetHandleByIndex_v2", index, gpu);
}

static nvmlReturn_t get_text(nvmlDevice_t gpu, const char *name, char *text) {
    CALL((nvmlDevice_t, char *, number), name, gpu, text, TEXT);
}

static nvmlReturn_t get_number(nvmlDevice_t gpu, const char *name, number *value) {
    CALL((nvmlDevice_t, number *), name, gpu, value);
}

static nvmlReturn_t get_pair(nvmlDevice_t gpu, const char *name, number values[2]) {
    CALL((nvmlDevice_t, number *, number *), name, gpu, &values[0], &values[1]);
}

static nvmlReturn_t get_of(nvmlDevice_t gpu, const char *name, number which, number *value) {
    CALL((nvmlDevice_t, number, number *), name, gpu, which, value);
}

static nvmlReturn_t get_long(nvmlDevice_t gpu, const char *name, unsigned long long *value) {
    CALL((nvmlDevice_t, unsigned long long *), name, gpu, value);
}

static nvmlReturn_t get_struct(nvmlDevice_t gpu, const char *name, void *out) {
    CALL((nvmlDevice_t, void *), name, gpu, out);
}

static nvmlReturn_t get_ecc(nvmlDevice_t gpu, number type, unsigned long long *count) {
    CALL((nvmlDevice_t, number, number, unsigned long long *), "nvmlDeviceGetTotalEccErrors", gpu, type, 0, count);
}

static nvmlReturn_t get_memory_clocks(nvmlDevice_t gpu, number *count, number *out) {
    CALL((nvmlDevice_t, number *, number *), "nvmlDeviceGetSupportedMemoryClocks", gpu, count, out);
}

static nvmlReturn_t get_graphics_clocks(nvmlDevice_t gpu, number memory, number *count, number *out) {
    CALL((nvmlDevice_t, number, number *, number *), "nvmlDeviceGetSupportedGraphicsClocks", gpu, memory, count, out);
}

static nvmlReturn_t set_number(nvmlDevice_t gpu, const char *name, number value) {
    CALL((nvmlDevice_t, number), name, gpu, value);
}

static nvmlReturn_t set_pair(nvmlDevice_t gpu, const char *name, const number values[2]) {
    CALL((nvmlDevice_t, number, number), name, gpu, values[0], values[1]);
}

static nvmlReturn_t reset(nvmlDevice_t gpu, const char *name) {
    CALL((nvmlDevice_t), name, gpu);
}

static const char *error_text(nvmlReturn_t status) {
    const char *(*function)(nvmlReturn_t);
    *(void **)&function = dlsym(library, "nvmlErrorString");
    return function == NULL ? "Unknown Error" : function(status);
}

/* The manual lists NVML's numbers as exit codes, and 255 for the rest. */
static int exit_code(nvmlReturn_t status) {
    return status <= NVML_ERROR_LIB_RM_VERSION_MISMATCH ? (int)status : 255;
}

/* Fields of --query-gpu, which all other output uses. */

struct field {
    const char *name, *unit;
    nvmlReturn_t (*read)(nvmlDevice_t gpu, const struct field *field, char *text);
    const char *function; /* of NVML */
    number argument;
    const char *const *words; /* instead of numbers */
};

static const char *const SWITCH[] = {"Disabled", "Enabled"};
static const char *const COMPUTE_MODES[] = {"Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"};

static nvmlReturn_t show(const struct field *field, nvmlReturn_t status, number value, char *text) {
    if (status != NVML_SUCCESS)
        return status;
    if (field->words != NULL)
        snprintf(text, TEXT, "%s", field->words[value]);
    else if (field->unit != NULL && strcmp(field->unit, "W") == 0)
        snprintf(text, TEXT, "%.2f", value / 1000.0);
    else
        snprintf(text, TEXT, "%u", value);
    return status;
}

static nvmlReturn_t read_text(nvmlDevice_t gpu, const struct field *field, char *text) {
    return get_text(gpu, field->function, text);
}

static nvmlReturn_t read_system(nvmlDevice_t gpu, const struct field *field, char *text) {
    (void)gpu;
    return call_text(field->function, text);
}

static nvmlReturn_t read_number(nvmlDevice_t gpu, const struct field *field, char *text) {
    number value = 0;
    nvmlReturn_t status = get_number(gpu, field->function, &value);
    return show(field, status, value, text);
}

/* The argument selects one of two numbers. */
static nvmlReturn_t read_pair(nvmlDevice_t gpu, const struct field *field, char *text) {
    number values[2] = {0, 0};
    nvmlReturn_t status = get_pair(gpu, field->function, values);
    return show(field, status, values[field->argument], text);
}

static nvmlReturn_t read_of(nvmlDevice_t gpu, const struct field *field, char *text) {
    number value = 0;
    nvmlReturn_t status = get_of(gpu, field->function, field->argument, &value);
    return show(field, status, value, text);
}

static nvmlReturn_t read_memory(nvmlDevice_t gpu, const struct field *field, char *text) {
    nvmlMemory_v2_t memory = {.version = NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2U)};
    nvmlReturn_t status = get_struct(gpu, field->function, &memory);
    const unsigned long long values[] = {memory.total, memory.reserved, memory.used, memory.free};
    return show(field, status, (number)(values[field->argument] / MIB), text);
}

static nvmlReturn_t read_utilization(nvmlDevice_t gpu, const struct field *field, char *text) {
    nvmlUtilization_t rates = {0, 0};
    nvmlReturn_t status = get_struct(gpu, field->function, &rates);
    return show(field, status, field->argument == 0 ? rates.gpu : rates.memory, text);
}

static nvmlReturn_t read_bus_id(nvmlDevice_t gpu, const struct field *field, char *text) {
    nvmlPciInfo_t pci = {.device = 0};
    nvmlReturn_t status = get_struct(gpu, field->function, &pci);
    snprintf(text, TEXT, "%s", pci.busId);
    return status;
}

static nvmlReturn_t read_capability(nvmlDevice_t gpu, const struct field *field, char *text) {
    number version[2] = {0, 0};
    nvmlReturn_t status = get_pair(gpu, field->function, version);
    snprintf(text, TEXT, "%u.%u", version[0], version[1]);
    return status;
}

static nvmlReturn_t read_state(nvmlDevice_t gpu, const struct field *field, char *text) {
    number state = 0;
    nvmlReturn_t status = get_number(gpu, field->function, &state);
    snprintf(text, TEXT, "P%u", state);
    return status;
}

static nvmlReturn_t read_reasons(nvmlDevice_t gpu, const struct field *field, char *text) {
    unsigned long long reasons = 0;
    nvmlReturn_t status = get_long(gpu, field->function, &reasons);
    snprintf(text, TEXT, "0x%016llX", reasons);
    return status;
}

static nvmlReturn_t read_ecc(nvmlDevice_t gpu, const struct field *field, char *text) {
    unsigned long long count = 0;
    nvmlReturn_t status = get_ecc(gpu, field->argument, &count);
    snprintf(text, TEXT, "%llu", count);
    return status;
}

static nvmlReturn_t read_time(nvmlDevice_t gpu, const struct field *field, char *text) {
    (void)gpu;
    time_t now = time(NULL);
    struct tm local;
    strftime(text, TEXT, field->function, localtime_r(&now, &local));
    return NVML_SUCCESS;
}

#define CLOCK "nvmlDeviceGetClockInfo"
#define MAX_CLOCK "nvmlDeviceGetMaxClockInfo"
#define APPLICATION "nvmlDeviceGetApplicationsClock"
#define DEFAULT_APPLICATION "nvmlDeviceGetDefaultApplicationsClock"
#define CONSTRAINTS "nvmlDeviceGetPowerManagementLimitConstraints"

static const struct field FIELDS[] = {
    {"timestamp", NULL, read_time, "%Y/%m/%d %H:%M:%S.000", 0, NULL},
    {"driver_version", NULL, read_system, "nvmlSystemGetDriverVersion", 0, NULL},
    {"name", NULL, read_text, "nvmlDeviceGetName", 0, NULL},
    {"gpu_name", NULL, read_text, "nvmlDeviceGetName", 0, NULL},
    {"serial", NULL, read_text, "nvmlDeviceGetSerial", 0, NULL},
    {"uuid", NULL, read_text, "nvmlDeviceGetUUID", 0, NULL},
    {"gpu_uuid", NULL, read_text, "nvmlDeviceGetUUID", 0, NULL},
    {"index", NULL, read_number, "nvmlDeviceGetIndex", 0, NULL},
    {"pci.bus_id", NULL, read_bus_id, "nvmlDeviceGetPciInfo_v3", 0, NULL},
    {"vbios_version", NULL, read_text, "nvmlDeviceGetVbiosVersion", 0, NULL},
    {"compute_cap", NULL, read_capability, "nvmlDeviceGetCudaComputeCapability", 0, NULL},
    {"compute_mode", NULL, read_number, "nvmlDeviceGetComputeMode", 0, COMPUTE_MODES},
    {"display_mode", NULL, read_number, "nvmlDeviceGetDisplayMode", 0, SWITCH},
    {"display_active", NULL, read_number, "nvmlDeviceGetDisplayActive", 0, SWITCH},
    {"persistence_mode", NULL, read_number, "nvmlDeviceGetPersistenceMode", 0, SWITCH},
    {"mig.mode.current", NULL, read_pair, "nvmlDeviceGetMigMode", 0, SWITCH},
    {"mig.mode.pending", NULL, read_pair, "nvmlDeviceGetMigMode", 1, SWITCH},
    {"pstate", NULL, read_state, "nvmlDeviceGetPerformanceState", 0, NULL},
    {"fan.speed", "%", read_number, "nvmlDeviceGetFanSpeed", 0, NULL},
    {"temperature.gpu", NULL, read_of, "nvmlDeviceGetTemperature", 0, NULL},
    {"clocks_throttle_reasons.active", NULL, read_reasons, "nvmlDeviceGetCurrentClocksThrottleReasons", 0, NULL},
    {"clocks_event_reasons.active", NULL, read_reasons, "nvmlDeviceGetCurrentClocksEventReasons", 0, NULL},
    {"memory.total", "MiB", read_memory, "nvmlDeviceGetMemoryInfo_v2", 0, NULL},
    {"memory.reserved", "MiB", read_memory, "nvmlDeviceGetMemoryInfo_v2", 1, NULL},
    {"memory.used", "MiB", read_memory, "nvmlDeviceGetMemoryInfo_v2", 2, NULL},
    {"memory.free", "MiB", read_memory, "nvmlDeviceGetMemoryInfo_v2", 3, NULL},
    {"utilization.gpu", "%", read_utilization, "nvmlDeviceGetUtilizationRates", 0, NULL},
    {"utilization.memory", "%", read_utilization, "nvmlDeviceGetUtilizationRates", 1, NULL},
    {"utilization.encoder", "%", read_pair, "nvmlDeviceGetEncoderUtilization", 0, NULL},
    {"utilization.decoder", "%", read_pair, "nvmlDeviceGetDecoderUtilization", 0, NULL},
    {"ecc.mode.current", NULL, read_pair, "nvmlDeviceGetEccMode", 0, SWITCH},
    {"ecc.mode.pending", NULL, read_pair, "nvmlDeviceGetEccMode", 1, SWITCH},
    {"ecc.errors.corrected.volatile.total", NULL, read_ecc, NULL, 0, NULL},
    {"ecc.errors.uncorrected.volatile.total", NULL, read_ecc, NULL, 1, NULL},
    {"power.management", NULL, read_number, "nvmlDeviceGetPowerManagementMode", 0, SWITCH},
    {"power.draw", "W", read_number, "nvmlDeviceGetPowerUsage", 0, NULL},
    {"power.limit", "W", read_number, "nvmlDeviceGetPowerManagementLimit", 0, NULL},
    {"enforced.power.limit", "W", read_number, "nvmlDeviceGetEnforcedPowerLimit", 0, NULL},
    {"power.default_limit", "W", read_number, "nvmlDeviceGetPowerManagementDefaultLimit", 0, NULL},
    {"power.min_limit", "W", read_pair, CONSTRAINTS, 0, NULL},
    {"power.max_limit", "W", read_pair, CONSTRAINTS, 1, NULL},
    {"clocks.gr", "MHz", read_of, CLOCK, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.sm", "MHz", read_of, CLOCK, NVML_CLOCK_SM, NULL},
    {"clocks.mem", "MHz", read_of, CLOCK, NVML_CLOCK_MEM, NULL},
    {"clocks.video", "MHz", read_of, CLOCK, NVML_CLOCK_VIDEO, NULL},
    {"clocks.current.graphics", "MHz", read_of, CLOCK, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.current.sm", "MHz", read_of, CLOCK, NVML_CLOCK_SM, NULL},
    {"clocks.current.memory", "MHz", read_of, CLOCK, NVML_CLOCK_MEM, NULL},
    {"clocks.current.video", "MHz", read_of, CLOCK, NVML_CLOCK_VIDEO, NULL},
    {"clocks.max.gr", "MHz", read_of, MAX_CLOCK, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.max.graphics", "MHz", read_of, MAX_CLOCK, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.max.sm", "MHz", read_of, MAX_CLOCK, NVML_CLOCK_SM, NULL},
    {"clocks.max.mem", "MHz", read_of, MAX_CLOCK, NVML_CLOCK_MEM, NULL},
    {"clocks.max.memory", "MHz", read_of, MAX_CLOCK, NVML_CLOCK_MEM, NULL},
    {"clocks.applications.gr", "MHz", read_of, APPLICATION, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.applications.graphics", "MHz", read_of, APPLICATION, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.applications.mem", "MHz", read_of, APPLICATION, NVML_CLOCK_MEM, NULL},
    {"clocks.applications.memory", "MHz", read_of, APPLICATION, NVML_CLOCK_MEM, NULL},
    {"clocks.default_applications.graphics", "MHz", read_of, DEFAULT_APPLICATION, NVML_CLOCK_GRAPHICS, NULL},
    {"clocks.default_applications.memory", "MHz", read_of, DEFAULT_APPLICATION, NVML_CLOCK_MEM, NULL},
    {"pcie.link.gen.current", NULL, read_number, "nvmlDeviceGetCurrPcieLinkGeneration", 0, NULL},
    {"pcie.link.gen.max", NULL, read_number, "nvmlDeviceGetMaxPcieLinkGeneration", 0, NULL},
    {"pcie.link.width.current", NULL, read_number, "nvmlDeviceGetCurrPcieLinkWidth", 0, NULL},
    {"pcie.link.width.max", NULL, read_number, "nvmlDeviceGetMaxPcieLinkWidth", 0, NULL},
};

static const struct field *find_field(const char *name) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
        if (strcmp(FIELDS[i].name, name) == 0)
            return &FIELDS[i];
    return NULL;
}

/* The field's value, or what nvidia-smi prints in its place. */
static nvmlReturn_t read_field(nvmlDevice_t gpu, const char *name, bool unit, char *text) {
    const struct field *field = find_field(name);
    nvmlReturn_t status = field->read(gpu, field, text);
    if (status == NVML_ERROR_NOT_SUPPORTED || status == NVML_ERROR_FUNCTION_NOT_FOUND)
        snprintf(text, TEXT, "N/A");
    else if (status != NVML_SUCCESS)
        snprintf(text, TEXT, "%s", error_text(status));
    else if (unit && field->unit != NULL)
        snprintf(text + strlen(text), TEXT - strlen(text), " %s", field->unit);
    return status;
}

/* --query-gpu */

struct request {
    const char *query, *format, *section, *target;
    bool list, full, version, help;
    number count;
    nvmlDevice_t gpus[MAX_GPUS];
};

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (; list != NULL; list = strchr(list, ',') == NULL ? NULL : strchr(list, ',') + 1)
        if (strncmp(list, word, length) == 0 && (list[length] == ',' || list[length] == '\0'))
            return true;
    return false;
}

static void print_header(const char *const *names, number count) {
    for (number i = 0; i < count; i++) {
        const char *unit = find_field(names[i])->unit;
        printf(unit == NULL ? "%s%s" : "%s%s [%s]", i == 0 ? "" : ", ", names[i], unit);
    }
    putchar('\n');
}

static void print_row(nvmlDevice_t gpu, const char *const *names, number count, bool units) {
    char text[TEXT];
    for (number i = 0; i < count; i++) {
        nvmlReturn_t status = read_field(gpu, names[i], units, text);
        printf(status == NVML_SUCCESS ? "%s%s" : "%s[%s]", i == 0 ? "" : ", ", text);
    }
    putchar('\n');
}

static int print_query(const struct request *request) {
    char copy[2048], *rest = NULL;
    const char *names[64];
    number count = 0;
    snprintf(copy, sizeof copy, "%s", request->query);
    for (char *name = strtok_r(copy, ", ", &rest); name != NULL && count < 64; name = strtok_r(NULL, ", ", &rest)) {
        if (find_field(name) == NULL) {
            printf("Field \"%s\" is not a valid field to query.\n\n", name);
            return EXIT_INVALID;
        }
        names[count++] = name;
    }
    if (!has_word(request->format, "csv")) {
        printf("\"--format=\" switch is missing. Please run 'nvidia-smi --help' for help.\n");
        return EXIT_INVALID;
    }
    if (!has_word(request->format, "noheader"))
        print_header(names, count);
    for (number i = 0; i < request->count; i++)
        print_row(request->gpus[i], names, count, !has_word(request->format, "nounits"));
    return 0;
}

/* -q */

struct line {
    const char *section, *heading, *label, *field;
};

static const struct line LINES[] = {
    {"", NULL, "Product Name", "name"},
    {"", NULL, "Display Mode", "display_mode"},
    {"", NULL, "Display Active", "display_active"},
    {"", NULL, "Persistence Mode", "persistence_mode"},
    {"", NULL, "Serial Number", "serial"},
    {"", NULL, "GPU UUID", "uuid"},
    {"", NULL, "VBIOS Version", "vbios_version"},
    {"", NULL, "Fan Speed", "fan.speed"},
    {"PERFORMANCE", NULL, "Performance State", "pstate"},
    {"MEMORY", "FB Memory Usage", "Total", "memory.total"},
    {"MEMORY", "FB Memory Usage", "Reserved", "memory.reserved"},
    {"MEMORY", "FB Memory Usage", "Used", "memory.used"},
    {"MEMORY", "FB Memory Usage", "Free", "memory.free"},
    {"COMPUTE", NULL, "Compute Mode", "compute_mode"},
    {"UTILIZATION", "Utilization", "Gpu", "utilization.gpu"},
    {"UTILIZATION", "Utilization", "Memory", "utilization.memory"},
    {"UTILIZATION", "Utilization", "Encoder", "utilization.encoder"},
    {"UTILIZATION", "Utilization", "Decoder", "utilization.decoder"},
    {"ECC", "ECC Mode", "Current", "ecc.mode.current"},
    {"ECC", "ECC Mode", "Pending", "ecc.mode.pending"},
    {"TEMPERATURE", "Temperature", "GPU Current Temp", "temperature.gpu"},
    {"POWER", "GPU Power Readings", "Power Draw", "power.draw"},
    {"POWER", "GPU Power Readings", "Current Power Limit", "enforced.power.limit"},
    {"POWER", "GPU Power Readings", "Requested Power Limit", "power.limit"},
    {"POWER", "GPU Power Readings", "Default Power Limit", "power.default_limit"},
    {"POWER", "GPU Power Readings", "Min Power Limit", "power.min_limit"},
    {"POWER", "GPU Power Readings", "Max Power Limit", "power.max_limit"},
    {"CLOCK", "Clocks", "Graphics", "clocks.gr"},
    {"CLOCK", "Clocks", "SM", "clocks.sm"},
    {"CLOCK", "Clocks", "Memory", "clocks.mem"},
    {"CLOCK", "Clocks", "Video", "clocks.video"},
    {"CLOCK", "Applications Clocks", "Graphics", "clocks.applications.graphics"},
    {"CLOCK", "Applications Clocks", "Memory", "clocks.applications.memory"},
    {"CLOCK", "Default Applications Clocks", "Graphics", "clocks.default_applications.graphics"},
    {"CLOCK", "Default Applications Clocks", "Memory", "clocks.default_applications.memory"},
    {"CLOCK", "Max Clocks", "Graphics", "clocks.max.graphics"},
    {"CLOCK", "Max Clocks", "SM", "clocks.max.sm"},
    {"CLOCK", "Max Clocks", "Memory", "clocks.max.memory"},
};

static void print_supported_clocks(nvmlDevice_t gpu) {
    number memory[MAX_CLOCKS], graphics[MAX_CLOCKS], memories = MAX_CLOCKS;
    printf("    Supported Clocks\n");
    if (get_memory_clocks(gpu, &memories, memory) != NVML_SUCCESS)
        memories = 0;
    for (number i = 0; i < memories; i++) {
        number count = MAX_CLOCKS;
        printf("        %-34s: %u MHz\n", "Memory", memory[i]);
        if (get_graphics_clocks(gpu, memory[i], &count, graphics) == NVML_SUCCESS)
            for (number j = 0; j < count; j++)
                printf("            %-30s: %u MHz\n", "Graphics", graphics[j]);
    }
}

static void print_gpu(nvmlDevice_t gpu, const char *section) {
    char text[TEXT];
    const char *heading = "";
    read_field(gpu, "pci.bus_id", false, text);
    printf("\nGPU %s\n", text);
    for (const struct line *line = LINES; line < LINES + sizeof LINES / sizeof *LINES; line++) {
        if (section != NULL && !has_word(section, line->section))
            continue;
        if (line->heading != NULL && strcmp(line->heading, heading) != 0)
            printf("    %s\n", line->heading);
        heading = line->heading == NULL ? "" : line->heading;
        read_field(gpu, line->field, true, text);
        printf(line->heading == NULL ? "    %-38s: %s\n" : "        %-34s: %s\n", line->label, text);
    }
    if (section != NULL && has_word(section, "SUPPORTED_CLOCKS"))
        print_supported_clocks(gpu);
}

static void cuda_version(char *text) {
    number version = 0;
    call_number("nvmlSystemGetCudaDriverVersion_v2", &version);
    snprintf(text, TEXT, "%u.%u", version / 1000, version % 1000 / 10);
}

static void now(char *text) {
    read_time(NULL, &(struct field){.function = "%a %b %e %H:%M:%S %Y"}, text);
}

static int print_full(const struct request *request) {
    char time_text[TEXT], driver[TEXT] = "", cuda[TEXT];
    now(time_text);
    call_text("nvmlSystemGetDriverVersion", driver);
    cuda_version(cuda);
    printf("\n==============NVSMI LOG==============\n\n");
    printf("%-42s: %s\n%-42s: %s\n%-42s: %s\n\n%-42s: %u\n", "Timestamp", time_text, "Driver Version", driver,
           "CUDA Version", cuda, "Attached GPUs", request->count);
    for (number i = 0; i < request->count; i++)
        print_gpu(request->gpus[i], request->section);
    putchar('\n');
    return 0;
}

/* The table, -L and --version */

#define RULE "+-----------------------------------------+------------------------+----------------------+\n"

static const char *on_off(const char *text) {
    return strcmp(text, SWITCH[1]) == 0 ? "On" : "Off";
}

static void print_card(nvmlDevice_t gpu) {
    static const char *const NAMES[] = {"index", "name", "persistence_mode", "pci.bus_id", "display_active",
                                        "ecc.errors.uncorrected.volatile.total", "fan.speed", "temperature.gpu",
                                        "pstate", "power.draw", "power.limit", "memory.used", "memory.total",
                                        "utilization.gpu", "compute_mode", "mig.mode.current"};
    char texts[sizeof NAMES / sizeof *NAMES][TEXT], used[2 * TEXT], memory[3 * TEXT];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        read_field(gpu, NAMES[i], false, texts[i]);
    snprintf(used, sizeof used, "%.0fW / %4.0fW", strtod(texts[9], NULL), strtod(texts[10], NULL));
    snprintf(memory, sizeof memory, "%sMiB / %6sMiB", texts[11], texts[12]);
    printf("| %3s  %-26s %7s | %18s %3s | %20s |\n", texts[0], texts[1], on_off(texts[2]), texts[3], on_off(texts[4]),
           texts[5]);
    printf("| %-4s %3sC   %3s     %19s | %22s | %6s%% %12s |\n", texts[6], texts[7], texts[8], used, memory, texts[13],
           texts[14]);
    printf("| %39s | %22s | %20s |\n" RULE, "", "", texts[15]);
}

static int print_table(const struct request *request) {
    char text[TEXT], driver[TEXT] = "", cuda[TEXT];
    now(text);
    call_text("nvmlSystemGetDriverVersion", driver);
    cuda_version(cuda);
    printf("%s\n+-----------------------------------------------------------------------------------------+\n", text);
    printf("| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n", driver, driver, cuda);
    printf("|-----------------------------------------+------------------------+----------------------+\n"
           "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
           "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |\n"
           "|                                         |                        |               MIG M. |\n"
           "|=========================================+========================+======================|\n");
    for (number i = 0; i < request->count; i++)
        print_card(request->gpus[i]);
    printf("\n+-----------------------------------------------------------------------------------------+\n"
           "| Processes:                                                                              |\n"
           "|  GPU   GI   CI        PID   Type   Process name                              GPU Memory |\n"
           "|        ID   ID                                                               Usage      |\n"
           "|=========================================================================================|\n"
           "|  No running processes found                                                             |\n"
           "+-----------------------------------------------------------------------------------------+\n");
    return 0;
}

static int print_list(const struct request *request) {
    char index[TEXT], name[TEXT], uuid[TEXT];
    for (number i = 0; i < request->count; i++) {
        read_field(request->gpus[i], "index", false, index);
        read_field(request->gpus[i], "name", false, name);
        read_field(request->gpus[i], "uuid", false, uuid);
        printf("GPU %s: %s (UUID: %s)\n", index, name, uuid);
    }
    return 0;
}

static int print_version(void) {
    char driver[TEXT] = "", library_version[TEXT] = "", cuda[TEXT];
    call_text("nvmlSystemGetDriverVersion", driver);
    call_text("nvmlSystemGetNVMLVersion", library_version);
    cuda_version(cuda);
    printf("NVIDIA-SMI version  : %s\nNVML version        : %s\nDRIVER version      : %s\nCUDA Version        : %s\n",
           driver, library_version, driver, cuda);
    return 0;
}

static int print_help(void) {
    puts("NVIDIA System Management Interface, for the simulated GPUs of a sandbox\n\n"
         "nvidia-smi [OPTION1 [ARG1]] [OPTION2 [ARG2]] ...\n\n"
         "    -h,   --help                   Print usage information and exit.\n"
         "          --version                Print version information and exit.\n"
         "    -L,   --list-gpus              Display a list of GPUs connected to the system.\n"
         "    -i,   --id=                    Target a specific GPU: index, UUID, PCI bus ID or serial number.\n"
         "    -q,   --query                  Display GPU info; -d, --display= its sections:\n"
         "                                   MEMORY, UTILIZATION, ECC, TEMPERATURE, POWER, CLOCK, COMPUTE,\n"
         "                                   PERFORMANCE, SUPPORTED_CLOCKS\n"
         "          --query-gpu=             Fields, with --format=csv[,noheader][,nounits]\n"
         "    -pm,  --persistence-mode=      0/DISABLED, 1/ENABLED\n"
         "    -e,   --ecc-config=            0/DISABLED, 1/ENABLED\n"
         "    -c,   --compute-mode=          0/DEFAULT, 2/PROHIBITED, 3/EXCLUSIVE_PROCESS\n"
         "    -pl,  --power-limit=           Watts\n"
         "    -ac,  --applications-clocks=   <memory,graphics> MHz\n"
         "    -rac, --reset-applications-clocks\n"
         "    -lgc, --lock-gpu-clocks=       <minimum,maximum> MHz, or one value\n"
         "    -rgc, --reset-gpu-clocks\n"
         "    -lmc, --lock-memory-clocks=    <minimum,maximum> MHz, or one value\n"
         "    -rmc, --reset-memory-clocks");
    return 0;
}

/* Settings: each prints what it did, or why it failed, and returns NVML's code. */

struct setting {
    const char *letter, *word, *what;
    nvmlReturn_t (*apply)(const struct setting *setting, nvmlDevice_t gpu, const char *bus, const char *argument);
    const char *function;
    const char *const *words;
};

static nvmlReturn_t apply_word(const struct setting *setting, nvmlDevice_t gpu, const char *bus, const char *argument) {
    for (number i = 0; i < 4 && setting->words[i] != NULL; i++)
        if ((argument[0] == (char)('0' + i) && argument[1] == '\0') || strcasecmp(argument, setting->words[i]) == 0) {
            nvmlReturn_t status = set_number(gpu, setting->function, i);
            if (status == NVML_SUCCESS)
                printf("Set %s to %s for GPU %s.\n", setting->what, setting->words[i], bus);
            return status;
        }
    printf("Invalid %s \"%s\".\n", setting->what, argument);
    return NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t apply_power(const struct setting *setting, nvmlDevice_t gpu, const char *bus, const char *watts) {
    number before = 0, bounds[2] = {0, 0};
    double wanted = strtod(watts, NULL);
    get_number(gpu, "nvmlDeviceGetPowerManagementLimit", &before);
    nvmlReturn_t status = set_number(gpu, setting->function, wanted > 0 ? (number)(wanted * 1000 + 0.5) : 0);
    if (status == NVML_SUCCESS)
        printf("Power limit for GPU %s was set to %.2f W from %.2f W.\n", bus, wanted, before / 1000.0);
    else if (status == NVML_ERROR_INVALID_ARGUMENT && get_pair(gpu, CONSTRAINTS, bounds) == NVML_SUCCESS)
        printf("Provided power limit %.2f W is not a valid power limit which should be between "
               "%.2f W and %.2f W for GPU %s\n",
               wanted, bounds[0] / 1000.0, bounds[1] / 1000.0, bus);
    return status;
}

static nvmlReturn_t apply_clocks(const struct setting *setting, nvmlDevice_t gpu, const char *bus, const char *clocks) {
    number values[2];
    int given = sscanf(clocks, "%u,%u", &values[0], &values[1]);
    if (given == 1)
        values[1] = values[0];
    nvmlReturn_t status = given < 1 ? NVML_ERROR_INVALID_ARGUMENT : set_pair(gpu, setting->function, values);
    if (status == NVML_SUCCESS)
        printf("%s set to \"(%u, %u)\" for GPU %s\n", setting->what, values[0], values[1], bus);
    else if (status == NVML_ERROR_INVALID_ARGUMENT)
        printf("Specified clock combination \"(%s)\" is not supported for GPU %s. "
               "Run 'nvidia-smi -q -d SUPPORTED_CLOCKS' to see list of supported clock combinations\n",
               clocks, bus);
    return status;
}

static nvmlReturn_t apply_reset(const struct setting *setting, nvmlDevice_t gpu, const char *bus, const char *nothing) {
    (void)nothing;
    nvmlReturn_t status = reset(gpu, setting->function);
    if (status == NVML_SUCCESS)
        printf("%s reset for GPU %s\n", setting->what, bus);
    return status;
}

static const char *const SWITCH_WORDS[4] = {"DISABLED", "ENABLED", NULL, NULL};
static const char *const MODE_WORDS[4] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS"};

static const struct setting SETTINGS[] = {
    {"-pm", "--persistence-mode", "persistence mode", apply_word, "nvmlDeviceSetPersistenceMode", SWITCH_WORDS},
    {"-e", "--ecc-config", "ECC mode", apply_word, "nvmlDeviceSetEccMode", SWITCH_WORDS},
    {"-c", "--compute-mode", "compute mode", apply_word, "nvmlDeviceSetComputeMode", MODE_WORDS},
    {"-pl", "--power-limit", "power limit", apply_power, "nvmlDeviceSetPowerManagementLimit", NULL},
    {"-ac", "--applications-clocks", "Applications clocks", apply_clocks, "nvmlDeviceSetApplicationsClocks", NULL},
    {"-rac", "--reset-applications-clocks", "Applications clocks", apply_reset, "nvmlDeviceResetApplicationsClocks",
     NULL},
    {"-lgc", "--lock-gpu-clocks", "GPU clocks", apply_clocks, "nvmlDeviceSetGpuLockedClocks", NULL},
    {"-rgc", "--reset-gpu-clocks", "GPU clocks", apply_reset, "nvmlDeviceResetGpuLockedClocks", NULL},
    {"-lmc", "--lock-memory-clocks", "Memory clocks", apply_clocks, "nvmlDeviceSetMemoryLockedClocks", NULL},
    {"-rmc", "--reset-memory-clocks", "Memory clocks", apply_reset, "nvmlDeviceResetMemoryLockedClocks", NULL},
};
#define SETTING_COUNT (sizeof SETTINGS / sizeof *SETTINGS)

static void explain(nvmlReturn_t status, const struct setting *setting, const char *bus) {
    if (status == NVML_ERROR_NOT_SUPPORTED)
        printf("Changing %s is not supported for GPU: %s.\nTreating as warning and moving on.\n", setting->what, bus);
    else if (status != NVML_ERROR_INVALID_ARGUMENT)
        printf("Unable to set %s for GPU %s: %s\n", setting->what, bus, error_text(status));
    if (status != NVML_ERROR_NOT_SUPPORTED)
        printf("Terminating early due to previous errors.\n");
}

static int apply(const struct request *request, const struct setting *setting, const char *argument) {
    int code = 0;
    char bus[TEXT], mode[TEXT];
    for (number i = 0; i < request->count; i++) {
        read_field(request->gpus[i], "pci.bus_id", false, bus);
        nvmlReturn_t status = setting->apply(setting, request->gpus[i], bus, argument);
        if (status != NVML_SUCCESS) {
            explain(status, setting, bus);
            code = exit_code(status);
        }
        if (status != NVML_SUCCESS && status != NVML_ERROR_NOT_SUPPORTED)
            return code;
        if (read_field(request->gpus[i], "persistence_mode", false, mode) == NVML_SUCCESS && *mode == 'D')
            printf("Warning: persistence mode is disabled on device %s. See the Known Issues section of the "
                   "nvidia-smi(1) man page for more information.\n",
                   bus);
    }
    printf("All done.\n%s", code == 0 && setting->letter[1] == 'e' ? "Reboot required.\n" : "");
    return code;
}

/* Start */

static int open_failed(nvmlReturn_t status) {
    char version[TEXT] = "";
    if (status == NVML_ERROR_LIBRARY_NOT_FOUND)
        printf("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA "
               "Display Driver is properly installed and present in your system.\n"
               "Please also try adding directory that contains libnvidia-ml.so to your system PATH.\n");
    else if (status == NVML_ERROR_DRIVER_NOT_LOADED)
        printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
               "Make sure that the latest NVIDIA driver is installed and running.\n\n");
    else
        printf("Failed to initialize NVML: %s\n", error_text(status));
    if (status == NVML_ERROR_LIB_RM_VERSION_MISMATCH && call_text("nvmlSystemGetNVMLVersion", version) == NVML_SUCCESS)
        printf("NVML library version: %s\n", strchr(version, '.') + 1);
    return exit_code(status);
}

static nvmlReturn_t open_library(void) {
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    return library == NULL ? NVML_ERROR_LIBRARY_NOT_FOUND : call("nvmlInit_v2");
}

static nvmlReturn_t find_target(const char *target, nvmlDevice_t *gpu) {
    static const char *const FINDERS[] = {"nvmlDeviceGetHandleByUUID", "nvmlDeviceGetHandleByPciBusId_v2",
                                          "nvmlDeviceGetHandleBySerial"};
    nvmlReturn_t status = NVML_ERROR_NOT_FOUND;
    if (strspn(target, "0123456789") == strlen(target))
        status = call_index((number)strtoul(target, NULL, 10), gpu);
    for (size_t i = 0; status != NVML_SUCCESS && i < sizeof FINDERS / sizeof *FINDERS; i++)
        status = call_find(FINDERS[i], target, gpu);
    return status;
}

/* A container has the nodes of its own GPUs only. A simulated host's nodes have the number of /dev/null. */
static bool is_visible(number index) {
    struct stat found;
    char node[TEXT];
    snprintf(node, sizeof node, "/dev/nvidia%u", index);
    return stat("/dev/nvidiactl", &found) != 0 || found.st_rdev != makedev(1, 3) || stat(node, &found) == 0;
}

/* 0, or the exit code for a host without a working driver or GPU. */
static int find_gpus(struct request *request) {
    number count = 0;
    call_number("nvmlDeviceGetCount_v2", &count);
    for (number i = 0; request->target == NULL && i < count && i < MAX_GPUS; i++) {
        if (!is_visible(i))
            continue;
        nvmlReturn_t status = call_index(i, &request->gpus[request->count]);
        if (status == NVML_SUCCESS)
            request->count++;
        else
            printf("Unable to determine the device handle for GPU%u: %s\n", i, error_text(status));
    }
    if (request->target != NULL && find_target(request->target, &request->gpus[0]) == NVML_SUCCESS)
        request->count = 1;
    if (request->count > 0)
        return 0;
    puts("No devices were found");
    return EXIT_NOT_FOUND;
}

/* `-x value` and `--long=value`; NULL when the argument is another option. */
static const char *option(const char *letter, const char *word, int argc, char **argv, int *at) {
    const char *argument = argv[*at];
    size_t length = strlen(word);
    if (strncmp(argument, word, length) == 0 && argument[length] == '=')
        return argument + length + 1;
    if (strcmp(argument, letter) != 0 && strcmp(argument, word) != 0)
        return NULL;
    return *at + 1 < argc ? argv[++*at] : "";
}

static bool take_setting(const char *arguments[SETTING_COUNT], int argc, char **argv, int *at) {
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &SETTINGS[i];
        if (setting->apply == apply_reset) {
            if (strcmp(argv[*at], setting->letter) == 0 || strcmp(argv[*at], setting->word) == 0)
                arguments[i] = "";
        } else
            arguments[i] = arguments[i] != NULL ? arguments[i] : option(setting->letter, setting->word, argc, argv, at);
        if (arguments[i] != NULL)
            return true;
    }
    return false;
}

static bool take_flag(struct request *request, const char *argument) {
    const struct {
        const char *letter, *word;
        bool *flag;
    } flags[] = {
        {"-h", "--help", &request->help},
        {"-L", "--list-gpus", &request->list},
        {"-q", "--query", &request->full},
        {"--version", "--version", &request->version},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(argument, flags[i].letter) == 0 || strcmp(argument, flags[i].word) == 0)
            return *flags[i].flag = true;
    return false;
}

static bool take_value(struct request *request, int argc, char **argv, int *at) {
    const struct {
        const char *letter, *word;
        const char **value;
    } values[] = {
        {"-i", "--id", &request->target},
        {"-d", "--display", &request->section},
        {"--query-gpu", "--query-gpu", &request->query},
        {"--format", "--format", &request->format},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const char *value = option(values[i].letter, values[i].word, argc, argv, at);
        if (value != NULL) {
            *values[i].value = value;
            return true;
        }
    }
    return false;
}

static int answer(const struct request *request, const char *const arguments[SETTING_COUNT]) {
    bool set = false;
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (arguments[i] != NULL) {
            int code = apply(request, &SETTINGS[i], arguments[i]);
            if (code != 0)
                return code;
            set = true;
        }
    if (set)
        return 0;
    if (request->query != NULL)
        return print_query(request);
    if (request->list)
        return print_list(request);
    return request->full ? print_full(request) : print_table(request);
}

int main(int argc, char **argv) {
    struct request request = {.count = 0};
    const char *arguments[SETTING_COUNT] = {NULL};
    for (int i = 1; i < argc; i++)
        if (!take_flag(&request, argv[i]) && !take_value(&request, argc, argv, &i)
            && !take_setting(arguments, argc, argv, &i)) {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n\n");
            return EXIT_INVALID;
        }
    if (request.help)
        return print_help();
    nvmlReturn_t status = open_library();
    if (status != NVML_SUCCESS)
        return open_failed(status);
    int code = request.version ? print_version() : find_gpus(&request);
    if (code == 0 && !request.version)
        code = answer(&request, arguments);
    call("nvmlShutdown");
    return code;
}
