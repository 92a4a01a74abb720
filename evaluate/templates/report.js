// The prevalence slider: what a reviewer would see in a stream in which another share of posts is positive. The page reads without it.
(() => {
  const data = JSON.parse(document.getElementById("sweeps").textContent);
  const slider = document.getElementById("prevalence");
  const shown = document.getElementById("prevalence-shown");
  const share = (value, digits) => `${+(100 * value).toPrecision(digits)}%`;
  const precision = (cell, at, prevalence) => {  // at the upper end of the false-positive rate, which is never 0
    const right = cell.recall[at] * prevalence;
    return right / (right + cell.fpr_high[at] * (1 - prevalence));
  };
  const redraw = () => {
    const prevalence = 10 ** Number(slider.value);
    shown.textContent = share(prevalence, 2);
    slider.setAttribute("aria-valuetext", share(prevalence, 2));
    data.forEach((cell, number) => {
      const card = document.getElementById(`sweep-${number}`);
      const line = cell.thresholds.map((x, at) => `${(220 * x).toFixed(1)},${(100 * (1 - precision(cell, at, prevalence))).toFixed(1)}`);
      card.querySelector(".precision").setAttribute("points", line.join(" "));
      const at = cell.thresholds.findIndex((threshold) => threshold >= cell.shipped);
      const right = precision(cell, at, prevalence);
      card.querySelector("output").textContent = `${+(1000 * right).toPrecision(right < 0.01 ? 2 : 3)}`;
    });
  };
  document.querySelector(".slider").hidden = false;
  slider.addEventListener("input", redraw);
})();
