// Numbers as numbers.py prints them: three significant digits, thousands separated.

const superscript = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const units = { nats: " nats", "nats^2": " nats²", 1: "" };

function number(x, digits = 3) {
  if (x === null || !Number.isFinite(x)) return "not finite";
  if (x === 0) return "0";
  const sign = x < 0 ? "−" : "";
  const [mantissa, power] = Math.abs(x).toExponential(digits - 1).split("e");
  const exponent = Number(power);
  if (exponent >= -4 && exponent < 6) {
    const decimals = Math.max(0, digits - 1 - exponent);
    const [whole, rest] = Number(`${mantissa}e${power}`).toFixed(decimals).split(".");
    return sign + thousands(whole) + (rest ? `.${rest}` : "");
  }
  return `${sign}${mantissa}×10${[...String(exponent)].map((c) => superscript[c]).join("")}`;
}

function thousands(whole) {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, ",");
}

function quantity(x, unit) {
  return number(x) + (units[unit] ?? ` ${unit}`);
}

// In bits where the unit is nats, else nothing.
function inBits(x, unit) {
  return unit === "nats" && x !== null ? `${number(x / Math.LN2)} bits` : "";
}
