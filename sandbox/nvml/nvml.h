/*
 * The part of NVML's interface that the simulated GPU has: names, numbers and layouts are those of NVIDIA's nvml.h.
 * Enumerations other than nvmlReturn_t are written as unsigned int, which is their type for a caller.
 */
#ifndef SANDBOX_NVML_H
#define SANDBOX_NVML_H

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_ALREADY_INITIALIZED = 5,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_INSUFFICIENT_POWER = 8,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_IRQ_ISSUE = 11,
    NVML_ERROR_LIBRARY_NOT_FOUND = 12,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_CORRUPTED_INFOROM = 14,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_OPERATING_SYSTEM = 17,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_IN_USE = 19,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_DEPRECATED = 26,
    NVML_ERROR_NOT_READY = 27,
    NVML_ERROR_GPU_NOT_FOUND = 28,
    NVML_ERROR_UNKNOWN = 999
} nvmlReturn_t;

typedef struct nvmlDevice_st *nvmlDevice_t;

#define NVML_CLOCK_GRAPHICS 0U
#define NVML_CLOCK_SM 1U
#define NVML_CLOCK_MEM 2U
#define NVML_CLOCK_VIDEO 3U
#define NVML_CLOCK_COUNT 4U

#define NVML_CLOCK_LIMIT_ID_RANGE_START 0xffffff00U
#define NVML_CLOCK_LIMIT_ID_TDP 0xffffff01U
#define NVML_CLOCK_LIMIT_ID_UNLIMITED 0xffffff02U

#define NVML_TEMPERATURE_GPU 0U

#define NVML_TEMPERATURE_THRESHOLD_SHUTDOWN 0U
#define NVML_TEMPERATURE_THRESHOLD_SLOWDOWN 1U
#define NVML_TEMPERATURE_THRESHOLD_MEM_MAX 2U
#define NVML_TEMPERATURE_THRESHOLD_GPU_MAX 3U
#define NVML_TEMPERATURE_THRESHOLD_COUNT 8U

#define NVML_COMPUTEMODE_DEFAULT 0U
#define NVML_COMPUTEMODE_EXCLUSIVE_THREAD 1U
#define NVML_COMPUTEMODE_COUNT 4U

#define NVML_BRAND_TESLA 2U
#define NVML_BRAND_NVIDIA 14U

#define NVML_DEVICE_ARCH_VOLTA 5U
#define NVML_DEVICE_ARCH_TURING 6U
#define NVML_DEVICE_ARCH_AMPERE 7U

#define NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH 1U

#define NVML_MEMORY_ERROR_TYPE_CORRECTED 0U
#define NVML_MEMORY_ERROR_TYPE_COUNT 2U
#define NVML_AGGREGATE_ECC 1U
#define NVML_MEMORY_LOCATION_DEVICE_MEMORY 2U
#define NVML_MEMORY_LOCATION_COUNT 8U

#define NVML_TOTAL_POWER_SAMPLES 0U
#define NVML_GPU_UTILIZATION_SAMPLES 1U
#define NVML_MEMORY_UTILIZATION_SAMPLES 2U
#define NVML_ENC_UTILIZATION_SAMPLES 3U
#define NVML_DEC_UTILIZATION_SAMPLES 4U
#define NVML_PROCESSOR_CLK_SAMPLES 5U
#define NVML_MEMORY_CLK_SAMPLES 6U
#define NVML_SAMPLINGTYPE_COUNT 10U

#define NVML_VALUE_TYPE_UNSIGNED_INT 1U

#define NVML_PCIE_UTIL_TX_BYTES 0U
#define NVML_PCIE_UTIL_COUNT 2U

#define NVML_PAGE_RETIREMENT_CAUSE_COUNT 2U

#define nvmlClocksEventReasonGpuIdle 0x1ULL
#define nvmlClocksEventReasonApplicationsClocksSetting 0x2ULL
#define nvmlClocksEventReasonSwPowerCap 0x4ULL
#define nvmlClocksEventReasonAll 0x1ffULL

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;

typedef struct {
    unsigned int gpu, memory;
} nvmlUtilization_t;

typedef struct {
    unsigned int version, sensorType;
    int temperature;
} nvmlTemperature_t;

typedef struct {
    unsigned int pid;
    unsigned long long usedGpuMemory;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

typedef union {
    double dVal;
    unsigned int uiVal;
    unsigned long long ullVal;
} nvmlValue_t;

typedef struct {
    unsigned long long timeStamp; /* microseconds */
    nvmlValue_t sampleValue;
} nvmlSample_t;

/* NVML encodes a struct's size and revision in one number; another layout returns error 25. */
#define NVML_STRUCT_VERSION(type, revision) ((unsigned int)(sizeof(type) | ((revision) << 24)))

_Static_assert(sizeof(nvmlPciInfo_t) == 68, "layout of nvmlPciInfo_t");
_Static_assert(NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2U) == 0x02000028, "layout of nvmlMemory_v2_t");
_Static_assert(NVML_STRUCT_VERSION(nvmlTemperature_t, 1U) == 0x0100000C, "layout of nvmlTemperature_v1_t");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "layout of nvmlProcessInfo_t");
_Static_assert(sizeof(nvmlSample_t) == 16, "layout of nvmlSample_t");

#endif
