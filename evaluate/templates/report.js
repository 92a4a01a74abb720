// The prevalence slider: what a reviewer would see in a stream in which another share of posts is positive. The page reads without it.
(() => {
  const data = JSON.parse(document.getElementById("sweeps").textContent);
  const slider = document.getElementById("prevalence");
  const shown = document.getElementById("prevalence-shown");
  const share = (value, digits) => `${+(100 * value).toPrecision(digits)}%`;
  const precision = (recall, fpr, prevalence) => {
    const flagged = recall * prevalence + fpr * (1 - prevalence);
    return flagged > 0 ? (recall * prevalence) / flagged : null;
  };
  const redraw = () => {
    const prevalence = 10 ** Number(slider.value);
    shown.textContent = share(prevalence, 2);
    slider.setAttribute("aria-valuetext", share(prevalence, 2));
    data.forEach((cell, number) => {
      const card = document.getElementById(`sweep-${number}`);
      const points = cell.thresholds.map((threshold, at) => [threshold, precision(cell.recall[at], cell.fpr[at], prevalence)]);
      const line = points.filter(([, value]) => value !== null).map(([x, y]) => `${(220 * x).toFixed(1)},${(100 * (1 - y)).toFixed(1)}`);
      card.querySelector(".precision").setAttribute("points", line.join(" "));
      const at = cell.thresholds.findIndex((threshold) => threshold >= cell.shipped);
      const right = precision(cell.recall[at], cell.fpr[at], prevalence);
      card.querySelector("output").textContent = right === null ? "none" : `${+(1000 * right).toPrecision(right < 0.01 ? 2 : 3)}`;
    });
  };
  document.querySelector(".slider").hidden = false;
  slider.addEventListener("input", redraw);
})();
