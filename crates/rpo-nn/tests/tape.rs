//! The tape by itself; whole U-Nets on it are held to diffusers and to candle's graph in rpo-diffusion.

use candle_core::{Device, Result, Tensor, Var};
use rpo_nn::{Tape, ops};

fn var(values: &[f32]) -> Result<Var> {
    Var::from_tensor(&Tensor::new(values, &Device::Cpu)?)
}

#[test]
fn gradients_that_meet_are_added() -> Result<()> {
    for recompute in [false, true] {
        let x = var(&[1.0, -2.0, 3.0])?;
        let tape = Tape::new(recompute)?;
        let y = tape.record(|| {
            // 2 x, 4 x, 12 x, of which the last is a part with a variable from outside: 13 x.
            let two = ops::add(&x, &x)?;
            let four = ops::add(&two, &two)?;
            let (again, inside) = (four.clone(), x.clone());
            let part = tape.part(move || ops::add(&ops::scale(&again, 3.0)?, &inside))?;
            ops::add(&part, &two)
        })?;
        assert_eq!(y.to_vec1::<f32>()?, [15.0, -30.0, 45.0]);
        let weights = Tensor::new(&[1f32, 10.0, 100.0], &Device::Cpu)?;
        let grads = tape.backward(&(&y * weights)?.sum_all()?)?;
        let grad = grads.get(&x).expect("x has a gradient").to_vec1::<f32>()?;
        assert_eq!(grad, [15.0, 150.0, 1500.0], "recompute {recompute}");
    }
    Ok(())
}

#[test]
fn an_operation_of_candles_does_not_pass_unseen() -> Result<()> {
    let x = var(&[1.0, 2.0])?;
    for recompute in [false, true] {
        let tape = || Tape::new(recompute);
        let inside = tape()?.record(|| ops::scale(&(ops::scale(&x, 2.0)? * 3.0)?, 2.0));
        let last = tape()?.record(|| ops::scale(&x, 2.0)? * 3.0);
        for result in [inside, last] {
            let message = result.expect_err("its gradient would be lost").to_string();
            assert!(message.contains("the tape does not know"), "{message}");
        }
    }
    // In a part it is seen when the part is computed again.
    let tape = Tape::new(true)?;
    let inner = x.clone();
    let y = tape.record(|| tape.part(move || ops::scale(&inner, 2.0)? * 3.0))?;
    let message = tape
        .backward(&y.sum_all()?)
        .expect_err("as above")
        .to_string();
    assert!(message.contains("the tape does not know"), "{message}");
    Ok(())
}

#[test]
fn a_part_belongs_into_a_recording() -> Result<()> {
    let x = var(&[1.0])?;
    let part = Tape::new(true)?.part(move || ops::scale(&x, 2.0));
    let message = part.expect_err("its gradient would be lost").to_string();
    assert!(message.contains("outside of `record`"), "{message}");
    Ok(())
}
