// Numbers, durations and moments as people read them; the same words as the command line's.
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return Math.abs(value) >= 1e5 ? value.toLocaleString("en-US") : String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

export function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const rest = Math.round(seconds);
  for (const [unit, size, smaller, small] of [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1]]) {
    if (rest >= size) return `${Math.floor(rest / size)}${unit} ${String(Math.floor((rest % size) / small)).padStart(2, "0")}${smaller}`;
  }
  return `${rest} s`;
}

export function ago(moment) {
  const seconds = Date.now() / 1000 - moment;
  if (seconds < 60) return "just now";
  for (const [unit, size, limit] of [["minute", 60, 3600], ["hour", 3600, 86400], ["day", 86400, 2592000]]) {
    if (seconds < limit) {
      const count = Math.floor(seconds / size);
      return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
    }
  }
  return date(moment).slice(0, 10);
}

export function date(moment) {
  if (!moment) return "–";
  const local = new Date(moment * 1000);
  const two = (part) => String(part).padStart(2, "0");
  return `${local.getFullYear()}-${two(local.getMonth() + 1)}-${two(local.getDate())} ${two(local.getHours())}:${two(local.getMinutes())}:${two(local.getSeconds())}`;
}

// A mark of an axis: short, and with as many digits as tell it from the next mark, `apart` from it.
export function mark(found, apart) {
  const size = Math.abs(found);
  if (size >= 1e5) return new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: apart ? Math.min(15, Math.max(2, Math.ceil(Math.log10(size / apart)) + 2)) : 6 }).format(found);
  return number(found);
}

// `apart`: the distance of the next amount that has to look different.
export function size(count, apart = 0) {
  let rest = count, unit = 1;
  for (const name of ["B", "KB", "MB", "GB"]) {
    if (rest < 1000) return name === "B" ? `${Math.round(rest)} B` : `${rest.toFixed(digits(apart / unit))} ${name}`;
    rest /= 1000;
    unit *= 1000;
  }
  return `${rest.toFixed(digits(apart / unit))} TB`;
}

const digits = (apart) => (apart > 0 && apart < 1 ? Math.min(6, Math.ceil(-Math.log10(apart)) + 1) : 1);

export function value(found) {
  if (found === null || found === undefined) return "–";
  if (typeof found === "number") return number(found);
  return typeof found === "object" ? JSON.stringify(found) : String(found);
}
